package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"serene/internal/build/buildtest"
	"serene/internal/dev/openssh"
	"serene/internal/dev/pacman"
	"serene/internal/dev/unit"
)

// place is one run: its directory, daemons and clients.
type place struct {
	dir   string   // absolute
	lock  *os.File // held while the directory is in use
	bin   string
	addrs map[string]string // by what listens there
	logs  []*os.File

	serve, receive *unit.Unit
	builder        *unit.Unit         // nil where there is no engine
	engine         *buildtest.Private // nil unless this run has started it
	docker, image  string             // as in the configuration
	ssh            *openssh.Client
	pacman         *pacman.System
	own            []string // the person's own public keys
	pushed         string   // file name of the package
}

// newPlace takes the first directory below base that no other run uses, and
// empties it: a second run beside this one has its own.
func newPlace(base, bin string) (*place, error) {
	base, err := filepath.Abs(base)
	if err != nil {
		return nil, err
	}
	if bin, err = filepath.Abs(bin); err != nil {
		return nil, err
	}
	for n := 1; ; n++ {
		dir := filepath.Join(base, "up"+strconv.Itoa(n))
		if err := os.MkdirAll(base, 0o755); err != nil {
			return nil, err
		}
		lock, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
			lock.Close()
			continue
		}
		p := &place{dir: dir, lock: lock, bin: bin}
		if err := p.prepare(); err != nil {
			lock.Close()
			return nil, err
		}
		return p, nil
	}
}

func (p *place) path(name string) string { return filepath.Join(p.dir, name) }

func (p *place) prepare() (err error) {
	if err := os.RemoveAll(p.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(p.path("state"), 0o700); err != nil {
		return err
	}
	if p.ssh, err = openssh.New(p.path("ssh")); err != nil {
		return err
	}
	if p.pacman, err = pacman.New(p.path("arch")); err != nil {
		return err
	}
	p.addrs = map[string]string{}
	for name, port := range map[string]string{"ssh": "2222", "https": "8443", "admin": "8444", "http": "0"} {
		if p.addrs[name], err = free(port); err != nil {
			return err
		}
	}
	return p.configure()
}

// free returns the address with this port if nothing listens there, else one
// with a port that is free.
func free(port string) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return "", err
		}
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (p *place) configure() error {
	return os.WriteFile(p.path("serene.toml"), []byte(p.config()), 0o644)
}

func (p *place) config() string {
	http := ""
	if !p.pacman.TLS() {
		http = p.addrs["http"]
	}
	return fmt.Sprintf(`# Written by make up, anew each time.
state = %q
log = "text"

[[repo]]
name = "serene"
arches = ["x86_64"]

[receive]
listen = %q
min_free = "64MiB"

[serve]
listen = %q
http_listen = %q
admin_listen = %q
url = "https://%s"

[build]
hub = "ssh://builder@%s"
docker = %q
image = %q
`, p.path("state"), p.addrs["ssh"], p.addrs["https"], http, p.addrs["admin"], p.addrs["https"],
		p.addrs["ssh"], p.docker, p.image)
}

// daemon describes one of them; its log goes to a file.
func (p *place) daemon(name string) (*unit.Unit, error) {
	log, err := os.Create(p.path(name + ".log"))
	if err != nil {
		return nil, err
	}
	p.logs = append(p.logs, log)
	return &unit.Unit{
		Path: filepath.Join(p.bin, name),
		Args: []string{"--config", p.path("serene.toml")},
		Env:  []string{"PATH=/nonexistent", "HOME=" + p.dir},
		Log:  log,
	}, nil
}

func (p *place) start(ctx context.Context) (err error) {
	if p.serve, err = p.daemon("serene-serve"); err != nil {
		return err
	}
	if err := p.serve.Start(ctx); err != nil {
		return err
	}
	if p.receive, err = p.daemon("serene-receive"); err != nil {
		return err
	}
	return p.receive.Start(ctx)
}

// stop ends the daemons, each before those that it needs.
func (p *place) stop() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, u := range []*unit.Unit{p.builder, p.receive, p.serve} {
		if u != nil {
			err = errors.Join(err, u.Stop(ctx))
		}
	}
	return errors.Join(err, p.stopEngine(ctx))
}

func (p *place) close() {
	for _, log := range p.logs {
		log.Close()
	}
	p.lock.Close()
}

// wait returns when the person has had enough, or a daemon ends by itself.
func (p *place) wait(ctx context.Context) error {
	var builderExited <-chan struct{} // never, where there is none
	if p.builder != nil {
		builderExited = p.builder.Exited()
	}
	select {
	case <-ctx.Done():
		fmt.Println("\nstopping")
		return nil
	case <-p.serve.Exited():
		return fmt.Errorf("serene-serve ended; see %s", p.path("serene-serve.log"))
	case <-p.receive.Exited():
		return fmt.Errorf("serene-receive ended; see %s", p.path("serene-receive.log"))
	case <-builderExited:
		return fmt.Errorf("serene-build ended; see %s", p.path("serene-build.log"))
	}
}

// took words how long something took.
func took(since time.Time) string { return time.Since(since).Round(10 * time.Millisecond).String() }
