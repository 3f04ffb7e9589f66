package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// load writes text as a config file of its own directory and loads it.
func load(t *testing.T, text string) (*Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file, "")
	if err != nil {
		err = errors.New(strings.ReplaceAll(err.Error(), file, "c.toml"))
	}
	return c, err
}

func TestDefaults(t *testing.T) {
	c, err := Load("", "")
	if err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct{ key, got, want any }{
		{"state", c.State, Path("/var/lib/serene")},
		{"repo", c.Repos, []Repo{{"serene", []Arch{HostArch()}, RuleWarn, RuleWarn, RuleWarn, nil}}},
		{"receive.listen", c.Receive.Listen, Addr(":2222")},
		{"receive.authorized_keys", c.Receive.AuthorizedKeys, Path("/var/lib/serene/authorized_keys")},
		{"receive.host_keys", c.Receive.HostKeys, []Path{"/var/lib/serene/keys/ssh_host_ed25519_key"}},
		{"receive.max_package", c.Receive.MaxPackage.String(), "4GiB"},
		{"receive.max_files", c.Receive.MaxFiles, Count(500_000)},
		{"receive.min_free", c.Receive.MinFree.String(), "2GiB"},
		{"serve.listen", c.Serve.Listen, Addr(":8443")},
		{"serve.http_listen", c.Serve.HTTPListen, Addr("")},
		{"serve.admin_listen", c.Serve.AdminListen, Addr("127.0.0.1:8444")},
		{"serve.url", c.Serve.URL, URL("https://" + host + ":8443")},
		{"serve.signing_key", c.Serve.SigningKey, Path("/var/lib/serene/keys/signing.asc")},
		{"serve.debounce", c.Serve.Debounce.Std(), 150 * time.Millisecond},
		{"serve.max_delay", c.Serve.MaxDelay.Std(), 2 * time.Second},
		{"serve.keep_generations", c.Serve.KeepGenerations.Std(), 720 * time.Hour},
		{"serve.package_grace", c.Serve.PackageGrace.Std(), 168 * time.Hour},
		{"build.hub", c.Build.Hub, URL("ssh://builder@localhost:2222")},
		{"build.image_refresh", c.Build.ImageRefresh.Std(), 24 * time.Hour},
		{"build.jobs", c.Build.Jobs, Count(1)},
		{"build.memory", c.Build.Memory.String(), "4GiB"},
		{"build.cpus", c.Build.CPUs, CPUs(2)},
		{"build.pids", c.Build.Pids, Count(4096)},
		{"build.disk", c.Build.Disk.String(), "32GiB"},
		{"build.min_free", c.Build.MinFree.String(), "1GiB"},
		{"build.package_cache", c.Build.PackageCache.String(), "8GiB"},
		{"build.keep_sources", c.Build.KeepSources.Std(), 2160 * time.Hour},
		{"build.ccache", c.Build.CCache, false},
		{"build.min_memory", c.Build.MinMemory.String(), "256MiB"},
		{"build.timeout", c.Build.Timeout.Std(), 2 * time.Hour},
		{"build.silence", c.Build.Silence.Std(), 20 * time.Minute},
		{"build.log_max", c.Build.LogMax.String(), "64MiB"},
		{"build.keep_builds", c.Build.KeepBuilds.Std(), 2160 * time.Hour},
		{"build.network", c.Build.Network, NetworkFetch},
		{"aur.url", c.AUR.URL, URL("https://aur.archlinux.org")},
		{"aur.schedule", c.AUR.Schedule, "0 */6 * * *"},
		{"aur.schedule_devel", c.AUR.ScheduleDevel, "0 3 * * *"},
		{"aur.gate", c.AUR.Gate, GateReview},
		{"aur.min_age", c.AUR.MinAge.Std(), 24 * time.Hour},
		{"queue.url", c.Queue.URL, NATSURLs("")},
		{"queue.replicas", c.Queue.Replicas, Count(1)},
	} {
		if !reflect.DeepEqual(v.got, v.want) {
			t.Errorf("%s = %v, want %v", v.key, v.got, v.want)
		}
	}
}

// everyKey sets each key of the contract to something other than its default.
const everyKey = `
state = "s"
log = "json"
[[repo]]
name = "main"
arches = ["x86_64", "aarch64"]
depends = "refuse"
files = "off"
claims = "warn"
grants = ["python-*", "a"]
[[repo]]
name = "testing"
[receive]
listen = "127.0.0.1:22"
authorized_keys = "keys.txt"
host_keys = ["a", "/b"]
max_package = "1GiB"
max_files = 13
min_free = 0
publish_wait = "1s"
login_grace_time = "2s"
max_auth_tries = 3
max_startups = "4:5:6"
max_sessions = 7
max_connections_per_address = 8
max_connections_per_key = 9
client_alive_interval = "10s"
client_alive_count_max = 11
channel_timeout = "12s"
ciphers = ["aes256-gcm@openssh.com"]
kex_algorithms = ["curve25519-sha256"]
macs = ["hmac-sha2-256-etm@openssh.com"]
[serve]
listen = "[::1]:443"
http_listen = ":80"
admin_listen = ""
url = "https://repo.example.org/arch/"
tls_cert = "c.pem"
tls_key = "k.pem"
signing_key = "sign.asc"
signing_key_passphrase_file = "pass"
debounce = "1s"
max_delay = "1m"
keep_generations = "1h"
package_grace = "2h"
keep_staged = "3h"
upstream = ["https://m.example.org/core/os/$arch/core.db"]
upstream_refresh = "4h"
[build]
hub = "ssh://b@hub:22"
identity = "id"
known_hosts = "kh"
docker = "unix:///run/docker.sock"
image = "docker.io/library/archlinux:base-devel"
image_refresh = "48h"
jobs = 2
memory = "8GiB"
cpus = 1
pids = 100
disk = "64GiB"
min_free = "2GiB"
min_memory = 0
package_cache = 0
keep_sources = "5h"
ccache = true
timeout = "1h"
silence = "1m"
log_max = "1MiB"
keep_builds = "5h"
git_http = ["git.lan:3000", "[fd00::1]"]
network = "open"
[aur]
url = "http://127.0.0.1:8080"
schedule = "1 * * * *"
schedule_devel = "2 * * * *"
gate = "age"
min_age = "1h"
[queue]
url = "nats://a:4222,tls://b:4222"
replicas = 3
`

func TestEveryKey(t *testing.T) {
	c, err := load(t, everyKey)
	if err != nil {
		t.Fatal(err)
	}
	base := filepath.Dir(string(c.State))
	in := func(name string) Path { return Path(filepath.Join(base, name)) }
	want := &Config{
		State: in("s"), Log: LogJSON,
		Repos: []Repo{
			{"main", []Arch{"x86_64", "aarch64"}, RuleRefuse, RuleOff, RuleWarn, []Glob{"python-*", "a"}},
			{"testing", []Arch{HostArch()}, RuleWarn, RuleWarn, RuleWarn, nil},
		},
		Receive: Receive{
			Listen: "127.0.0.1:22", AuthorizedKeys: in("keys.txt"),
			HostKeys: []Path{in("a"), "/b"}, MaxPackage: 1 << 30, MaxFiles: 13,
			PublishWait: Duration(time.Second), LoginGraceTime: Duration(2 * time.Second), MaxAuthTries: 3,
			MaxStartups: Startups{4, 5, 6}, MaxSessions: 7, MaxConnectionsPerAddress: 8, MaxConnectionsPerKey: 9,
			ClientAliveInterval: Duration(10 * time.Second), ClientAliveCountMax: 11, ChannelTimeout: Duration(12 * time.Second),
			Ciphers: []string{"aes256-gcm@openssh.com"}, KexAlgorithms: []string{"curve25519-sha256"},
			MACs: []string{"hmac-sha2-256-etm@openssh.com"},
		},
		Serve: Serve{
			Listen: "[::1]:443", HTTPListen: ":80", URL: "https://repo.example.org/arch",
			TLSCert: in("c.pem"), TLSKey: in("k.pem"),
			SigningKey: in("sign.asc"), SigningKeyPassphraseFile: in("pass"),
			Debounce: Duration(time.Second), MaxDelay: Duration(time.Minute),
			KeepGenerations: Duration(time.Hour), PackageGrace: Duration(2 * time.Hour), KeepStaged: Duration(3 * time.Hour),
			Upstream: []DatabaseURL{"https://m.example.org/core/os/$arch/core.db"}, UpstreamRefresh: Duration(4 * time.Hour),
		},
		Build: Build{
			Hub: "ssh://b@hub:22", Identity: in("id"), KnownHosts: in("kh"),
			Docker: "unix:///run/docker.sock", Image: "docker.io/library/archlinux:base-devel",
			ImageRefresh: Duration(48 * time.Hour), Jobs: 2, Memory: 8 << 30, CPUs: 1, Pids: 100, Disk: 64 << 30, MinFree: 2 << 30,
			KeepSources: Duration(5 * time.Hour), CCache: true, Timeout: Duration(time.Hour),
			Silence: Duration(time.Minute), LogMax: 1 << 20, KeepBuilds: Duration(5 * time.Hour), GitHTTP: []Host{"git.lan:3000", "[fd00::1]"}, Network: NetworkOpen,
		},
		AUR: AUR{
			URL: "http://127.0.0.1:8080", Schedule: "1 * * * *", ScheduleDevel: "2 * * * *",
			Gate: GateAge, MinAge: Duration(time.Hour),
		},
		Queue: Queue{URL: "nats://a:4222,tls://b:4222", Replicas: 3},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

func TestRefused(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"stat = 1", `c.toml: unknown key "stat"`},
		{"[serve]\ndebonce = \"1s\"", `c.toml: unknown key "serve.debonce"`},
		{"[serve]\nListen = \":1\"", `c.toml: unknown key "serve.Listen"`},
		{"[receiver]\nlisten = \":1\"", `c.toml: unknown key "receiver`},
		{"state = ", `c.toml:1: unexpected EOF; expected value`},
		{"state = {}", `c.toml: line 1 (last key "state"): incompatible types`},
		{"log = \"xml\"", `c.toml:1: log = "xml": accepts "text", "json", or ""`},
		{"state = \"a\\u0000b\"", `accepts a path without NUL`},
		{"\n[serve]\ndebounce = 150", `c.toml:3: serve.debounce = "150": accepts a duration above zero such as`},
		{"[serve]\ndebounce = \"-1s\"", `serve.debounce = "-1s": accepts a duration above zero`},
		{"[serve]\npackage_grace = \"0s\"", `serve.package_grace = "0s": accepts a duration above zero`},
		{"[serve]\ndebounce = \"3s\"", `serve.max_delay = "2s": accepts a duration not below serve.debounce, which is 3s`},
		{"[receive]\nmax_package = \"4 gigs\"", `receive.max_package = "4 gigs": accepts a size such as`},
		{"[receive]\nmax_package = \"-1\"", `receive.max_package = "-1": accepts a size`},
		{"[receive]\nmax_package = \"9000000TiB\"", `receive.max_package = "9000000TiB": accepts a size`},
		{"[receive]\nmax_package = 0", `receive.max_package = "0B": accepts a size above zero`},
		{"[receive]\nlisten = \"2222\"", `receive.listen = "2222": accepts an address such as`},
		{"[receive]\nlisten = \":ssh\"", `receive.listen = ":ssh": accepts an address such as`},
		{"[receive]\nlisten = \"\"", `receive.listen = "": accepts an address such as ":2222"; this one cannot be off`},
		{"[receive]\nhost_keys = \"one\"", `c.toml: line 2 (last key "receive.host_keys"): incompatible types`},
		{"[[repo]]\nname = \"r\"\ndepends = \"yes\"", `depends = "yes": accepts "refuse", "warn" or "off"`},
		{"[[repo]]\nname = \"r\"\ngrants = [\"a[\"]", `"a[": accepts a glob such as`},
		{"[serve]\nupstream = [\"core.db\"]", `"core.db": accepts the URL of a database such as`},
		{"[serve]\nupstream = [\"file:///etc/passwd\"]", `accepts the URL of a database`},
		{"[serve]\nlisten = \":70000\"", `serve.listen = ":70000": accepts an address such as`},
		{"[serve]\nlisten = \"\"", `serve.listen = "": accepts an address`},
		{"[serve]\nurl = \"repo.example.org\"", `serve.url = "repo.example.org": accepts a URL such as`},
		{"[serve]\nurl = \"https://x/?a\"", `serve.url = "https://x/?a": accepts a URL such as`},
		{"[serve]\nurl = \"ftp://x\"", `serve.url = "ftp://x": accepts a URL that begins with http:// or https://`},
		{"[serve]\ntls_cert = \"c\"", `serve.tls_key = "": accepts the key file of serve.tls_cert`},
		{"[serve]\ntls_key = \"k\"", `serve.tls_cert = "": accepts the certificate file of serve.tls_key`},
		{"[serve]\nacme_domain = \"a.org\"\ntls_cert = \"/c\"", `serve.tls_cert = "/c": accepts nothing while serve.acme_domain is set`},
		{"[serve]\nacme_domain = \"a.org\"\ntls_key = \"/k\"", `serve.tls_key = "/k": accepts nothing while serve.acme_domain is set`},
		{"[serve]\nacme_domain = \"https://a.org\"", `serve.acme_domain = "https://a.org": accepts a domain name`},
		{"[[repo]]\nname = \"Main\"", `c.toml:2: repo.name = "Main": accepts a name of a-z`},
		{"[[repo]]\nname = \"../x\"", `repo.name = "../x": accepts a name of a-z`},
		{"[[repo]]\nname = \"local\"", `repo.name = "local": accepts a name of a-z`},
		{"[[repo]]\narches = [\"x86_64\"]", `repo[0].name = "": accepts a name: every [[repo]] needs one`},
		{"[[repo]]\nname = \"a\"\n[[repo]]\nname = \"a\"", `repo[1].name = "a": accepts a name no other [[repo]] has`},
		{"[[repo]]\nname = \"a-debug\"\n[[repo]]\nname = \"a\"", `repo[0].name = "a-debug": accepts another name: this one is where debug packages of "a" go`},
		{"[[repo]]\nname = \"a\"\narches = [\"any\"]", `repo.arches = "any": accepts an architecture such as`},
		{"[[repo]]\nname = \"a\"\narches = [\"pool\"]", `repo.arches = "pool": accepts an architecture`},
		{"[[repo]]\nname = \"a\"\narches = [\"x/y\"]", `repo.arches = "x/y": accepts an architecture`},
		{"[[repo]]\nname = \"a\"\narches = [\"x\", \"x\"]", `repo[0].arches = "[x x]": accepts each architecture once`},
		{"[build]\nhub = \"https://x\"", `build.hub = "https://x": accepts a URL that begins with ssh://`},
		{"[build]\ndocker = \"ftp://x\"", `build.docker = "ftp://x": accepts a URL that begins with unix:// or tcp://`},
		{"[build]\nimage = \"--privileged\"", `build.image = "--privileged": accepts an image`},
		{"[receive]\nmax_startups = \"10:30\"", `receive.max_startups = "10:30": accepts "START:RATE:FULL"`},
		{"[receive]\nmax_startups = \"10:30:5\"", `receive.max_startups = "10:30:5": accepts "START:RATE:FULL"`},
		{"[build]\njobs = 0", `build.jobs = "0": accepts a whole number from 1 up`},
		{"[build]\njobs = 1.5", `build.jobs = "1.500000": accepts a whole number`},
		{"[build]\ncpus = 0", `build.cpus = "0": accepts a number of processors`},
		{"[build]\ncpus = \"nan\"", `build.cpus = "nan": accepts a number of processors`},
		{"[build]\nmemory = 0", `build.memory = "0B": accepts a size above zero`},
		{"[build]\ngit_http = [\"http://git.lan\"]", `"http://git.lan": accepts a host in lower case such as`},
		{"[build]\ngit_http = [\"\"]", `"": accepts a host`},
		{"[build]\ndisk = 0", `build.disk = "0B": accepts a size above zero`},
		{"[build]\nnetwork = \"off\"", `build.network = "off": accepts "fetch", "open" or "none"`},
		{"[aur]\ngate = \"\"", `aur.gate = "": accepts "review", "age" or "off"`},
		{"[queue]\nreplicas = 3", `queue.replicas = "3": accepts 1 while queue.url is not set`},
		{"[queue]\nurl = \"nats://x\"\nreplicas = 6", `queue.replicas = "6": accepts a whole number from 1 to 5`},
		{"[queue]\nurl = \"http://x\"", `queue.url = "http://x": accepts NATS servers such as`},
	} {
		_, err := load(t, test.text)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q:\n got  %v\n want %s", test.text, err, test.want)
		}
	}
}

func TestStateFlag(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	c, err := Load("", "st")
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "st")
	if c.State != Path(state) || c.Receive.Listen != ":2222" {
		t.Errorf("without serene.toml: state %q, listen %q", c.State, c.Receive.Listen)
	}
	if err := os.MkdirAll(state, 0o700); err != nil {
		t.Fatal(err)
	}
	text := "state = \"/elsewhere\"\n[receive]\nlisten = \":1\"\nauthorized_keys = \"ak\"\n"
	if err := os.WriteFile(filepath.Join(state, "serene.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err = Load("", "st")
	if err != nil {
		t.Fatal(err)
	}
	if c.State != Path(state) || c.Receive.Listen != ":1" || c.Receive.AuthorizedKeys != Path(filepath.Join(state, "ak")) {
		t.Errorf("with serene.toml: %q %q %q", c.State, c.Receive.Listen, c.Receive.AuthorizedKeys)
	}
}

func TestMissingFile(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.toml"), "")
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestErrorType(t *testing.T) {
	_, err := Load(filepath.Join("testdata", "bad.toml"), "")
	var bad *Error
	if !errors.As(err, &bad) {
		t.Fatalf("got %v", err)
	}
	want := Error{File: filepath.Join("testdata", "bad.toml"), Line: 2, Key: "aur.gate", Reason: `"shut": accepts "review", "age" or "off"`}
	if *bad != want {
		t.Errorf("got %+v", *bad)
	}
}

func TestURLFromListener(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"[serve]\nacme_domain = \"repo.example.org\"\nlisten = \":443\"", "https://repo.example.org"},
		{"[serve]\nacme_domain = \"repo.example.org\"", "https://repo.example.org:8443"},
	} {
		c, err := load(t, test.text)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Serve.URL.String(); got != test.want {
			t.Errorf("%q: url %q, want %q", test.text, got, test.want)
		}
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "17": 17, "17B": 17, "1kB": 1000, "2MB": 2e6, "500MiB": 500 << 20, "4 GiB": 4 << 30, "1TiB": 1 << 40,
		"9223372036854775807": 1<<63 - 1,
	} {
		got, err := ParseSize(text)
		if err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", text, got, err, want)
		}
		if again, err := ParseSize(got.String()); err != nil || again != got {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", got.String(), again, err, got)
		}
	}
	for _, text := range []string{"", "B", "+1", "-1", "1.5GiB", "1 2", "1  B", "0x10", "1_000", "9223372036854775808", "8388608TiB", "1gib"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", text, got)
		}
	}
}
