package serve

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"serene/internal/config"
	"serene/internal/daemon"
	"serene/internal/repo"
	"serene/internal/upstream"
)

// drain is how long downloads may go on after the daemon was asked to stop.
const drain = 5 * time.Second

// Run is the daemon: it publishes and serves until ctx ends, then finishes the
// refresh it is in and lets downloads go on for a moment. A state directory that
// cannot be written is no error: what is published is served. A second daemon on
// the same one is an error that wraps repo.ErrBusy.
func Run(ctx context.Context, p *daemon.Process) error {
	// Another process of this user must not read the signing key out of ours.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	up, err := openUpstream(p.Config, p.Log)
	if err != nil {
		return err
	}
	store, err := repo.OpenConfigured(p.Config, up)
	if err != nil {
		return err
	}
	signer, err := openSigner(p.Config, p.Log)
	if err != nil {
		return err
	}
	d := &server{p: p, store: store, upstream: up, figures: &figures{}, changes: make(chan terms)}
	w := &lateWriter{open: func() (*repo.Writer, error) { return d.openWriter(signer) }, log: p.Log}
	if err := w.start(); err != nil {
		return err
	}
	defer w.Close()
	if d.identity, err = newIdentity(p.Config, p.Log); err != nil {
		return err
	}
	return d.run(ctx, w)
}

// openSigner unlocks the signing key, or makes the default one.
func openSigner(c *config.Config, log *slog.Logger) (*repo.Signer, error) {
	if err := c.CheckSigningKey(); err != nil {
		return nil, err
	}
	passphrase, err := readPassphrase(string(c.Serve.SigningKeyPassphraseFile))
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	signer, created, err := repo.LoadOrCreateSigner(string(c.Serve.SigningKey), passphrase, fmt.Sprintf("serene on %s <serene@%s>", host, host))
	if err != nil {
		return nil, err
	}
	if created {
		log.Info("made a signing key", "file", string(c.Serve.SigningKey))
	}
	log.Info("signing key", "fingerprint", signer.Fingerprint())
	return signer, nil
}

// readPassphrase reads the first line of file; there is none without a file.
func readPassphrase(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read passphrase: %w", err)
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), nil
}

// server is the parts of the running daemon.
type server struct {
	p        *daemon.Process
	store    *repo.Store
	upstream *upstream.Set
	identity *identity
	figures  *figures
	changes  chan terms
}

// openWriter takes the lock, and the state to where its journals say it is.
func (d *server) openWriter(signer *repo.Signer) (*repo.Writer, error) {
	w, err := repo.OpenWriter(d.store, signer, d.p.Log)
	if err != nil {
		return nil, err
	}
	w.Answered = d.figures.settled
	return w, nil
}

// run starts every part and ends them all when one fails.
func (d *server) run(ctx context.Context, w writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	if err := d.listen(ctx, group); err != nil {
		return err
	}
	h, drops := newHints(), newHints()
	inbox := &inboxWatch{dir: filepath.Join(string(d.p.Config.State), "inbox"), hints: h, drops: drops, log: d.p.Log}
	adopt := &adopter{store: d.store, drops: drops, log: d.p.Log}
	refresh := &refresher{writer: w, hints: h, changes: d.changes, log: d.p.Log, figures: d.figures, terms: termsOf(d.p.Config)}
	group.Go(func() error { inbox.run(ctx); return nil })
	group.Go(func() error { refresh.run(ctx); return nil })
	group.Go(func() error { adopt.run(ctx); return nil })
	group.Go(func() error { d.upstream.Run(ctx); return nil })
	group.Go(func() error { d.reload(ctx); return nil })
	d.p.Ready()
	return group.Wait()
}

// listen binds every configured address and serves on it.
func (d *server) listen(ctx context.Context, group *errgroup.Group) error {
	public := &site{store: d.store, gens: newGenCache(), log: d.p.Log, figures: d.figures}
	for _, l := range []struct {
		name    string
		addr    config.Addr
		handler http.Handler
		tls     *tls.Config
	}{
		{"https", d.p.Config.Serve.Listen, public, d.identity.config()},
		{"http", d.p.Config.Serve.HTTPListen, public, nil},
		{"admin", d.p.Config.Serve.AdminListen, admin(d.store, d.figures), nil},
	} {
		if l.addr == "" {
			continue
		}
		ln, err := d.p.Listen(l.name, l.addr.String())
		if err != nil {
			return err
		}
		srv := newHTTPServer(l.handler, l.tls, d.p.Log)
		group.Go(func() error { return serveHTTP(ctx, srv, ln) })
	}
	return nil
}

// newHTTPServer sets the limits of a server that strangers talk to. Answers
// have WriteTimeout to begin with and move it along as they are taken.
func newHTTPServer(h http.Handler, c *tls.Config, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		TLSConfig:         c,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      stallTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// serveHTTP serves on l until ctx ends, then drains. TLS is spoken if srv has a
// configuration for it.
func serveHTTP(ctx context.Context, srv *http.Server, l net.Listener) error {
	ended := make(chan error, 1)
	go func() {
		if srv.TLSConfig != nil {
			ended <- srv.ServeTLS(l, "", "")
		} else {
			ended <- srv.Serve(l)
		}
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if srv.Shutdown(grace) != nil {
		srv.Close()
	}
	return nil
}

// reload takes over what may change while running, until ctx ends.
func (d *server) reload(ctx context.Context) {
	for {
		select {
		case c := <-d.p.Reloads():
			d.takeOver(ctx, c)
		case <-ctx.Done():
			return
		}
	}
}

func (d *server) takeOver(ctx context.Context, c *config.Config) {
	if err := d.identity.reload(c); err != nil {
		d.p.Log.Error("certificate not reloaded", "err", err)
	}
	select {
	case d.changes <- termsOf(c):
	case <-ctx.Done():
	}
	for _, key := range needRestart(d.p.Config, c) {
		d.p.Log.Warn("change takes effect at the next start", "key", key)
	}
}

// needRestart lists the keys that differ and were only read at the start.
func needRestart(was, is *config.Config) []string {
	var keys []string
	for _, k := range []struct {
		key     string
		was, is any
	}{
		{"state", was.State, is.State},
		{"log", was.Log, is.Log},
		{"repo", was.Repos, is.Repos},
		{"serve.listen", was.Serve.Listen, is.Serve.Listen},
		{"serve.http_listen", was.Serve.HTTPListen, is.Serve.HTTPListen},
		{"serve.admin_listen", was.Serve.AdminListen, is.Serve.AdminListen},
		{"serve.acme_domain", was.Serve.ACMEDomain, is.Serve.ACMEDomain},
		{"serve.upstream", was.Serve.Upstream, is.Serve.Upstream},
		{"serve.upstream_refresh", was.Serve.UpstreamRefresh, is.Serve.UpstreamRefresh},
		{"serve.signing_key", was.Serve.SigningKey, is.Serve.SigningKey},
	} {
		if !reflect.DeepEqual(k.was, k.is) {
			keys = append(keys, k.key)
		}
	}
	return keys
}
