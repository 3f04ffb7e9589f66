// Package config owns the one configuration file the daemons share: its keys,
// their defaults and what each accepts. The doc comments of the structs below
// are its manual, and the types of their fields say what a value may be.
//
// A file is refused whole or taken whole: an unknown key, a value of the wrong
// kind and two values that contradict each other are errors at start, never
// something to be guessed at later. The package only reads that file, and
// looks whether the private keys it names are there. It creates nothing, and
// where other things lie below the state directory is for the packages that own
// them to say.
package config

// Config is a whole configuration. Load returns one with every default filled
// in, so its readers never ask whether a key was set.
type Config struct {
	// State is the directory all daemons of one repository server share.
	// The flag --state wins over it. Default "/var/lib/serene".
	State Path `toml:"state"`

	// Log is how log lines are written: "text", "json", or "" for text on a
	// terminal and JSON otherwise.
	Log LogFormat `toml:"log"`

	// Repos are the pacman repositories, one [[repo]] each. The first is the
	// default one, which /ARCH/… serves and verbs without --repo mean.
	// Default: one repository "serene" for the host's own architecture.
	Repos []Repo `toml:"repo"`

	Receive Receive `toml:"receive"`
	Serve   Serve   `toml:"serve"`
	Build   Build   `toml:"build"`
	AUR     AUR     `toml:"aur"`
	Queue   Queue   `toml:"queue"`
}

// Repo is one [[repo]]. A second repository, NAME-debug, exists beside it for
// debug packages without being listed.
type Repo struct {
	// Name is the section's name in pacman.conf and the first part of the
	// repository's URLs.
	Name RepoName `toml:"name"`

	// Arches are the architectures it is published for. "any" is not one:
	// such packages are listed for each. Default: the host's own.
	Arches []Arch `toml:"arches"`

	// Depends, Files and Claims say what a change comes to that breaks a rule on
	// its result: "refuse" keeps it out, "warn" publishes it and says so in the
	// receipt, "off" does not look. Default "warn".
	//
	// Depends: everything a package depends on is provided by the repositories
	// here, or by those of [serve] upstream; without those there is no such rule.
	// Files: no two packages own one file without a conflict between them.
	// Claims: replaces, provides and conflicts do not name a package of another
	// package base, unless Grants has it.
	Depends Rule `toml:"depends"`
	Files   Rule `toml:"files"`
	Claims  Rule `toml:"claims"`

	// Grants are the names, as globs such as "python-*", that packages here may
	// claim although they are of another package base. Default: none.
	Grants []Glob `toml:"grants"`
}

// Receive is the section [receive]: the SSH door.
type Receive struct {
	// Listen is where SSH is spoken. Default ":2222".
	Listen Addr `toml:"listen"`

	// AuthorizedKeys is the file of keys that may log in, as sshd(8) words it.
	// Default "authorized_keys" in the state directory.
	AuthorizedKeys Path `toml:"authorized_keys"`

	// HostKeys are the server's private keys. Default: the one file
	// "keys/ssh_host_ed25519_key" in the state directory, made at first start.
	// Any other has to be there.
	HostKeys []Path `toml:"host_keys"`

	// MaxPackage is the largest package file taken, compressed. Default "4GiB".
	MaxPackage Size `toml:"max_package"`

	// MaxFiles is the most files and directories a package may have. While one is
	// read it takes half a KiB of memory for each. Default 500000.
	MaxFiles Count `toml:"max_files"`

	// MinFree is the space an upload must leave free on the file system of the
	// state directory. Default "2GiB".
	MinFree Size `toml:"min_free"`

	// PublishWait is how long a change is waited for once it is accepted, before
	// the client is told to look later. Default "30s".
	PublishWait Duration `toml:"publish_wait"`

	// What follows is named, and means, as in sshd_config(5). Counts of 0 are
	// not accepted: there is always a limit.

	// LoginGraceTime is from accepting a connection to a proven key. Default "1m".
	LoginGraceTime Duration `toml:"login_grace_time"`

	// MaxAuthTries is how many keys a connection may be refused. Default 6.
	MaxAuthTries Count `toml:"max_auth_tries"`

	// MaxStartups bounds the connections without a proven key: from the first
	// number on one is dropped with the percentage of the second, which rises
	// to certainty at the third. Default "50:30:200".
	MaxStartups Startups `toml:"max_startups"`

	// MaxSessions is how many sessions a connection may have open. Default 10.
	MaxSessions Count `toml:"max_sessions"`

	// MaxConnectionsPerAddress and MaxConnectionsPerKey bound connections with
	// a proven key, by IPv4 address or IPv6 /64, and by key. Default 128, 64.
	MaxConnectionsPerAddress Count `toml:"max_connections_per_address"`
	MaxConnectionsPerKey     Count `toml:"max_connections_per_key"`

	// ClientAliveInterval is the silence after which a client is asked for a
	// sign of life, ClientAliveCountMax how many such silences end its
	// connection. Default "30s", 4.
	ClientAliveInterval Duration `toml:"client_alive_interval"`
	ClientAliveCountMax Count    `toml:"client_alive_count_max"`

	// ChannelTimeout ends a session without a byte in or out for as long.
	// Default "4h".
	ChannelTimeout Duration `toml:"channel_timeout"`

	// Ciphers, KexAlgorithms and MACs replace what is offered. Default: AES-GCM,
	// which every OpenSSH since 6.2 has and which is fast here; the modern key
	// exchanges; MACs that only other ciphers need. What rests on SHA-1 is
	// refused.
	Ciphers       []string `toml:"ciphers"`
	KexAlgorithms []string `toml:"kex_algorithms"`
	MACs          []string `toml:"macs"`
}

// Serve is the section [serve]: the writer of published state, and HTTPS.
type Serve struct {
	// Listen is where HTTPS is served. Default ":8443".
	Listen Addr `toml:"listen"`

	// HTTPListen serves the same content over plain HTTP, for a TLS proxy in
	// front. Default "", which is off.
	HTTPListen Addr `toml:"http_listen"`

	// AdminListen serves /metrics and /healthz over plain HTTP. "" is off.
	// Default "127.0.0.1:8444".
	AdminListen Addr `toml:"admin_listen"`

	// URL is the public base URL, for snippets and receipts; it has no slash
	// at its end. Default "https://HOSTNAME:PORT", where PORT is Listen's and
	// HOSTNAME is ACMEDomain or else the host's name.
	URL URL `toml:"url"`

	// TLSCert and TLSKey are PEM files, read again at SIGHUP. With neither,
	// and no ACMEDomain, a self-signed certificate is made in the state
	// directory.
	TLSCert Path `toml:"tls_cert"`
	TLSKey  Path `toml:"tls_key"`

	// ACMEDomain is the name to get a certificate for from Let's Encrypt; it
	// takes the place of TLSCert and TLSKey. The world must reach Listen at
	// port 443 of that name.
	ACMEDomain Domain `toml:"acme_domain"`

	// SigningKey is the armored OpenPGP secret key that signs packages and
	// databases. Default "keys/signing.asc" in the state directory, made at
	// first start. Any other has to be there.
	SigningKey Path `toml:"signing_key"`

	// SigningKeyPassphraseFile holds the passphrase of SigningKey on its first
	// line. Default "": the key has none.
	SigningKeyPassphraseFile Path `toml:"signing_key_passphrase_file"`

	// Debounce is how long after a refresh further arrivals are gathered into
	// one more. The first arrival after a quiet time is never made to wait.
	// Default "150ms".
	Debounce Duration `toml:"debounce"`

	// MaxDelay is the longest a transaction waits for others to join it.
	// Default "2s"; at least Debounce.
	MaxDelay Duration `toml:"max_delay"`

	// KeepGenerations is how long a generation that was replaced stays, for
	// clients in the middle of a download and for rollback. Default "720h".
	KeepGenerations Duration `toml:"keep_generations"`

	// PackageGrace is how long a package file stays after the last generation
	// that names it went. Default "168h".
	PackageGrace Duration `toml:"package_grace"`

	// KeepStaged is how long what push --stage prepared waits to be published.
	// Default "168h".
	KeepStaged Duration `toml:"keep_staged"`

	// Upstream are the sync databases clients have beside these, for the rules on
	// dependencies and claims: URLs in which "$arch" stands for the architecture,
	// such as "https://geo.mirror.pkgbuild.com/core/os/$arch/core.db".
	// Default: none, and no rule on dependencies.
	Upstream []DatabaseURL `toml:"upstream"`

	// UpstreamRefresh is how often they are asked for news. Default "24h".
	UpstreamRefresh Duration `toml:"upstream_refresh"`
}

// Build is the section [build]: a builder, on this machine or another.
type Build struct {
	// Hub is the SSH door the builder takes jobs from and pushes results to.
	// Default "ssh://builder@localhost:2222".
	Hub URL `toml:"hub"`

	// Identity is the builder's private SSH key, and KnownHosts the file with
	// the hub's host key. Default "keys/builder_ed25519" and
	// "keys/known_hosts" in the state directory.
	Identity   Path `toml:"identity"`
	KnownHosts Path `toml:"known_hosts"`

	// Docker is the engine's address, as DOCKER_HOST words it. Default "":
	// DOCKER_HOST, or else the local socket.
	Docker URL `toml:"docker"`

	// Image is the container image builds run in. Any image with pacman,
	// makepkg and a user "build" serves. Default "": made from the
	// Containerfile in the binary.
	Image Image `toml:"image"`

	// ImageRefresh is how old an image gets that was made from the Containerfile,
	// before it is made anew, proven, and put in its place. Default "24h".
	ImageRefresh Duration `toml:"image_refresh"`

	// Jobs is how many builds run at once. Default 1.
	Jobs Count `toml:"jobs"`

	// Memory, CPUs, Pids and Disk limit each container; Disk is what it may
	// write, together with what the caches of its package base have.
	// Default "4GiB", 2.0, 4096, "32GiB".
	Memory Size  `toml:"memory"`
	CPUs   CPUs  `toml:"cpus"`
	Pids   Count `toml:"pids"`
	Disk   Size  `toml:"disk"`

	// MinFree is the space that must be free in the state directory, and where
	// the engine keeps containers, for a job to be taken and to go on; MinMemory
	// the memory for one to be taken. Jobs wait where no builder has that.
	// Default "1GiB" and "256MiB"; 0 asks for none.
	MinFree   Size `toml:"min_free"`
	MinMemory Size `toml:"min_memory"`

	// PackageCache bounds what is kept of what pacman downloads from the
	// distribution's mirrors; what was not needed longest goes first.
	// Default "8GiB"; 0 keeps nothing.
	PackageCache Size `toml:"package_cache"`

	// KeepSources is how long what was downloaded for a package base is kept for
	// its next build, counted from the last. Default "2160h".
	KeepSources Duration `toml:"keep_sources"`

	// CCache also keeps what compilers have made, where the image has ccache.
	// Default false.
	CCache bool `toml:"ccache"`

	// Timeout ends a build that has run that long, Silence one that has
	// printed nothing for that long. Default "2h" and "20m".
	Timeout Duration `toml:"timeout"`
	Silence Duration `toml:"silence"`

	// LogMax is how much of a build's output is kept. Default "64MiB".
	LogMax Size `toml:"log_max"`

	// KeepBuilds is how long a job that is over is remembered, with its log and
	// its source; the hub removes it then. The last job of each package base
	// stays. Default "2160h".
	KeepBuilds Duration `toml:"keep_builds"`

	// GitHTTP are the hosts that may be reached over plain http, as URLs word
	// them: "git.lan", or "git.lan:3000" where there is a port. They count for
	// build --git, and for [aur] url. The hub and each builder ask their own
	// list. Default: none but loopback addresses, which need not be listed.
	GitHTTP []Host `toml:"git_http"`

	// Network is what a build may reach: "fetch" turns the network off once
	// sources and dependencies are there, "open" leaves it on throughout,
	// "none" never turns it on. Default "fetch".
	Network Network `toml:"network"`
}

// AUR is the section [aur]: following upstream.
type AUR struct {
	// URL is the AUR's base URL. Default "https://aur.archlinux.org".
	URL URL `toml:"url"`

	// Schedule and ScheduleDevel say, as crontab(5) does, when tracked
	// packages and VCS packages are looked at. Default "0 */6 * * *" and
	// "0 3 * * *". Their grammar is checked by what runs them.
	Schedule      string `toml:"schedule"`
	ScheduleDevel string `toml:"schedule_devel"`

	// Gate is what an upstream change has to pass before it is built: "review"
	// asks a person where the rules doubt, "age" only waits for MinAge, "off"
	// lets everything through. Default "review".
	Gate Gate `toml:"gate"`

	// MinAge is how old a change has to be, counted from upstream's
	// LastModified or from when it was first seen here, the later. Default
	// "24h".
	MinAge Duration `toml:"min_age"`
}

// Queue is the section [queue].
type Queue struct {
	// URL is an external NATS server or several, separated by commas.
	// Default "": the one embedded in serene-receive.
	URL NATSURLs `toml:"url"`

	// Replicas is how many servers of an external cluster keep the queue, 1 to 5.
	// With 3 of them, one may fail. Default 1.
	Replicas Count `toml:"replicas"`
}
