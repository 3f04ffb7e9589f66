package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"

	gossh "golang.org/x/crypto/ssh"

	"serene/internal/config"
	"serene/internal/daemon"
	"serene/internal/durable"
	"serene/internal/job"
	"serene/internal/receive"
	"serene/internal/repo"
	"serene/internal/source"
	"serene/sshd"
)

// door joins the SSH server to the verbs. A reload puts a new receiver behind
// it; verbs that run go on with the one they have.
type door struct {
	log      *slog.Logger
	keys     *sshd.KeyFile
	server   *sshd.Server
	queue    *queue
	receiver atomic.Pointer[receive.Receiver]
}

// openDoor makes what is missing of the state and returns a door that does not
// listen yet.
func openDoor(c *config.Config, q *queue, log *slog.Logger) (*door, error) {
	r, err := newReceiver(c, q.verbsClient, q.hub.Dir(), log)
	if err != nil {
		return nil, err
	}
	if err := r.Store.SweepStaging(); err != nil {
		return nil, err
	}
	if err := c.CheckHostKeys(); err != nil {
		return nil, err
	}
	hostKeys, err := hostKeys(c.Receive.HostKeys, log)
	if err != nil {
		return nil, err
	}
	if err := createAuthorizedKeys(string(c.Receive.AuthorizedKeys), log); err != nil {
		return nil, err
	}
	welcomeBuilder(c, hostKeys, log)
	d := &door{log: log, queue: q, keys: sshd.OpenKeyFile(string(c.Receive.AuthorizedKeys), checkCommand, log)}
	d.use(r)
	d.server, err = sshd.New(sshd.Config{
		HostKeys:   hostKeys,
		Keys:       d.keys,
		Exec:       d.counted(d.exec),
		Subsystems: d.subsystems(),
		Limits:     limits(&c.Receive),
		Algorithms: sshd.Algorithms{Ciphers: c.Receive.Ciphers, KexAlgorithms: c.Receive.KexAlgorithms, MACs: c.Receive.MACs},
		Log:        log,
	})
	return d, err
}

// use puts r behind the door.
func (d *door) use(r *receive.Receiver) {
	r.KeysChanged = d.readKeys
	d.receiver.Store(r)
}

// readKeys reads the keys again, and ends the connections of those that are
// there no more.
func (d *door) readKeys() {
	if err := d.keys.Reload(); err == nil {
		d.server.Recheck()
	}
}

// newReceiver returns the verbs for a configuration, which ask the hub through
// what queue returns and read of its jobs in builds.
func newReceiver(c *config.Config, queue func() (*job.Client, error), builds *job.Dir, log *slog.Logger) (*receive.Receiver, error) {
	state := string(c.State)
	store, err := repo.OpenConfigured(c, nil)
	if err != nil {
		return nil, err
	}
	rates, partial := filepath.Join(state, "rate"), filepath.Join(state, "partial")
	if err := errors.Join(durable.MkdirAll(rates, 0o700), durable.MkdirAll(partial, 0o770)); err != nil {
		return nil, err
	}
	plain := source.Allow{HTTP: config.Strings(c.Build.GitHTTP)}
	return receive.New(receive.Options{
		Store:          store,
		Queue:          queue,
		Builds:         builds,
		AUR:            &source.AUR{URL: c.AUR.URL.String(), Allow: plain},
		GitAllow:       plain,
		Log:            log,
		Version:        daemon.Version(),
		URL:            c.Serve.URL.String(),
		TLSCert:        certificate(c),
		MaxPackage:     int64(c.Receive.MaxPackage),
		Keep:           repo.Keep{Generations: c.Serve.KeepGenerations.Std(), Packages: c.Serve.PackageGrace.Std(), Stages: c.Serve.KeepStaged.Std()},
		UpstreamDir:    filepath.Join(state, "upstream"),
		RateDir:        rates,
		PartialDir:     partial,
		AuthorizedKeys: string(c.Receive.AuthorizedKeys),
		PublishWait:    c.Receive.PublishWait.Std(),
	}), nil
}

// certificate is the file with the certificate clients of HTTPS see, "" where
// it comes from an authority that they trust.
func certificate(c *config.Config) string {
	switch {
	case c.Serve.TLSCert != "":
		return string(c.Serve.TLSCert)
	case c.Serve.ACMEDomain != "":
		return ""
	}
	return filepath.Join(string(c.State), "keys", "tls", "cert.pem")
}

// limits are the door's own.
func limits(r *config.Receive) sshd.Limits {
	return sshd.Limits{
		LoginGraceTime:           r.LoginGraceTime.Std(),
		MaxAuthTries:             int(r.MaxAuthTries),
		MaxStartups:              sshd.MaxStartups(r.MaxStartups),
		MaxSessions:              int(r.MaxSessions),
		MaxConnectionsPerAddress: int(r.MaxConnectionsPerAddress),
		MaxConnectionsPerKey:     int(r.MaxConnectionsPerKey),
		ClientAliveInterval:      r.ClientAliveInterval.Std(),
		ClientAliveCountMax:      int(r.ClientAliveCountMax),
		ChannelTimeout:           r.ChannelTimeout.Std(),
	}
}

func checkCommand(command string) error {
	_, err := receive.ParseRights(command)
	return err
}

func hostKeys(files []config.Path, log *slog.Logger) ([]gossh.Signer, error) {
	var keys []gossh.Signer
	for _, file := range files {
		key, created, err := sshd.LoadOrCreateHostKey(string(file))
		if err != nil {
			return nil, fmt.Errorf("receive.host_keys = %q: %w", file, err)
		}
		what := "host key"
		if created {
			what = "made a host key"
		}
		log.Info(what, "file", string(file), "fingerprint", sshd.Fingerprint(key.PublicKey()))
		keys = append(keys, key)
	}
	return keys, nil
}

// createAuthorizedKeys makes an empty file, which admits nobody.
func createAuthorizedKeys(file string, log *slog.Logger) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("create authorized_keys: %w", err)
	}
	log.Info("made an empty authorized_keys: nobody can log in until there is a key in it", "file", file)
	return f.Close()
}

// exec runs one command of a client.
func (d *door) exec(ctx context.Context, s *sshd.Session) int {
	return d.receiver.Load().RunLine(ctx, d.caller(s), s.Command, streams(s))
}

// sftp serves the subsystem that sftp, and scp, speak.
func (d *door) sftp(ctx context.Context, s *sshd.Session) int {
	return d.receiver.Load().RunSFTP(ctx, d.caller(s), streams(s))
}

func streams(s *sshd.Session) receive.Streams {
	return receive.Streams{In: s.Stdin, Out: s.Stdout, Err: s.Stderr}
}

// caller is whom the verbs see in a session.
func (d *door) caller(s *sshd.Session) receive.Caller {
	rights, err := rightsOf(s.Identity)
	if err != nil {
		// The key file lets no such key in. Without rights it may do nothing.
		d.log.Error("forced command", "key", s.Identity.Fingerprint, "err", err)
	}
	return receive.Caller{
		Key:     s.Identity.Fingerprint,
		Comment: s.Identity.Comment,
		Remote:  s.Remote.String(),
		Rights:  rights,
	}
}

// rightsOf returns what a key's line gives it.
func rightsOf(id *sshd.Identity) (receive.Rights, error) {
	if !id.HasCommand {
		return receive.AllRights(), nil
	}
	return receive.ParseRights(id.Command)
}

// reload takes over the configurations that SIGHUP brings, and reads the keys
// again. Addresses, host keys and what the job queue was told stay until a restart.
func (d *door) reload(ctx context.Context, configs <-chan *config.Config) {
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-configs:
			if r, err := newReceiver(c, d.queue.verbsClient, d.queue.hub.Dir(), d.log); err != nil {
				d.log.Error("not reloaded", "err", err)
			} else {
				d.use(r)
			}
			d.readKeys()
		}
	}
}
