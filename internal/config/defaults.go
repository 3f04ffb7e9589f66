package config

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// defaults is the configuration before a file is read. What depends on other
// keys, and lists, which a file replaces rather than extends, come from
// complete.
func defaults() *Config {
	return &Config{
		Receive: Receive{
			Listen:                   ":2222",
			MaxPackage:               4 << 30,
			MaxFiles:                 500_000,
			MinFree:                  2 << 30,
			PublishWait:              Duration(30 * time.Second),
			LoginGraceTime:           Duration(time.Minute),
			MaxAuthTries:             6,
			MaxStartups:              Startups{50, 30, 200},
			MaxSessions:              10,
			MaxConnectionsPerAddress: 128,
			MaxConnectionsPerKey:     64,
			ClientAliveInterval:      Duration(30 * time.Second),
			ClientAliveCountMax:      4,
			ChannelTimeout:           Duration(4 * time.Hour),
		},
		Serve: Serve{
			Listen:          ":8443",
			AdminListen:     "127.0.0.1:8444",
			Debounce:        Duration(150 * time.Millisecond),
			MaxDelay:        Duration(2 * time.Second),
			KeepGenerations: Duration(720 * time.Hour),
			PackageGrace:    Duration(168 * time.Hour),
			KeepStaged:      Duration(168 * time.Hour),
			UpstreamRefresh: Duration(24 * time.Hour),
		},
		Build: Build{
			Hub:          "ssh://builder@localhost:2222",
			Jobs:         1,
			Memory:       4 << 30,
			CPUs:         2,
			Pids:         4096,
			Disk:         32 << 30,
			MinFree:      1 << 30,
			MinMemory:    256 << 20,
			PackageCache: 8 << 30,
			ImageRefresh: Duration(24 * time.Hour),
			KeepSources:  Duration(2160 * time.Hour),
			Timeout:      Duration(2 * time.Hour),
			Silence:      Duration(20 * time.Minute),
			KeepBuilds:   Duration(2160 * time.Hour),
			LogMax:       64 << 20,
			Network:      NetworkFetch,
		},
		AUR: AUR{
			URL:           "https://aur.archlinux.org",
			Schedule:      "0 */6 * * *",
			ScheduleDevel: "0 3 * * *",
			Gate:          GateReview,
			MinAge:        Duration(24 * time.Hour),
		},
		Queue: Queue{Replicas: 1},
	}
}

// complete fills in what follows from other keys and makes every path absolute.
func (c *Config) complete(file, state string) error {
	base, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return fmt.Errorf("find config directory: %w", err)
	}
	if err := c.completeState(base, state); err != nil {
		return err
	}
	c.completePaths(base)
	c.completeRepos()
	return c.completeURL()
}

// completeState settles the state directory. A flag's relative path is taken
// from the working directory, the file's from the file's.
func (c *Config) completeState(base, flag string) error {
	switch {
	case flag != "":
		abs, err := filepath.Abs(flag)
		if err != nil {
			return fmt.Errorf("find state directory: %w", err)
		}
		c.State = Path(abs)
	case c.State == "":
		c.State = DefaultState
	default:
		c.State.resolve(base, "")
	}
	return nil
}

func (c *Config) completePaths(base string) {
	if len(c.Receive.HostKeys) == 0 {
		c.Receive.HostKeys = []Path{c.keyFile(hostKeyFile)}
	}
	for i := range c.Receive.HostKeys {
		c.Receive.HostKeys[i].resolve(base, "")
	}
	c.Receive.AuthorizedKeys.resolve(base, filepath.Join(string(c.State), "authorized_keys"))
	c.Serve.SigningKey.resolve(base, string(c.keyFile(signingKeyFile)))
	c.Serve.SigningKeyPassphraseFile.resolve(base, "")
	c.Serve.TLSCert.resolve(base, "")
	c.Serve.TLSKey.resolve(base, "")
	c.Build.Identity.resolve(base, string(c.keyFile("builder_ed25519")))
	c.Build.KnownHosts.resolve(base, string(c.keyFile("known_hosts")))
}

// resolve makes p absolute, taking it from base; an empty one becomes fallback.
func (p *Path) resolve(base, fallback string) {
	switch s := string(*p); {
	case s == "":
		*p = Path(fallback)
	case filepath.IsAbs(s):
		*p = Path(filepath.Clean(s))
	default:
		*p = Path(filepath.Join(base, s))
	}
}

func (c *Config) completeRepos() {
	if len(c.Repos) == 0 {
		c.Repos = []Repo{{Name: "serene"}}
	}
	for i := range c.Repos {
		if len(c.Repos[i].Arches) == 0 {
			c.Repos[i].Arches = []Arch{HostArch()}
		}
		for _, rule := range []*Rule{&c.Repos[i].Depends, &c.Repos[i].Files, &c.Repos[i].Claims} {
			if *rule == "" {
				*rule = RuleWarn
			}
		}
	}
}

// completeURL guesses the public URL from the address of the HTTPS listener.
func (c *Config) completeURL() error {
	if c.Serve.URL != "" {
		return nil
	}
	host := string(c.Serve.ACMEDomain)
	if host == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("guess serve.url: %w", err)
		}
		host = name
	}
	if port := c.Serve.Listen.port(); port != "443" {
		host = net.JoinHostPort(host, port)
	}
	c.Serve.URL = URL("https://" + host)
	return nil
}

// pacmanArch maps Go's names of architectures to pacman's where they differ.
var pacmanArch = map[string]Arch{
	"amd64": "x86_64",
	"arm64": "aarch64",
	"arm":   "armv7h",
	"386":   "i686",
}

// HostArch is the architecture of this machine, as pacman calls it.
func HostArch() Arch {
	if a, ok := pacmanArch[runtime.GOARCH]; ok {
		return a
	}
	return Arch(runtime.GOARCH)
}
