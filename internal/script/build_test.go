package script_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"serene/internal/build/buildtest"
	"serene/internal/dev/unit"
	"serene/internal/source/aurtest"
)

// buildConfig is what the scripts of builds have in addition to defaultConfig.
const buildConfig = defaultConfig + `
[build]
hub = "ssh://builder@$SSH_ADDR"
identity = "$STATE/keys/builder_ed25519"
known_hosts = "$STATE/keys/known_hosts"
docker = "$DOCKER"
image = "$IMAGE"
memory = "512MiB"
disk = "256MiB"
pids = 256
log_max = "1MiB"
silence = "10s"
git_http = ["$GIT_HOST"]
[aur]
url = "$AUR"
`

type (
	aurKey    struct{}
	engineKey struct{}
)

// TestBuilds runs the scripts in testdata/build: they have an AUR and a Docker
// engine, which is shared. Scripts see, beside what the others see:
//
//	$AUR       base URL of the AUR
//	$GIT_HOST  a host that may be reached over plain http: it is the same server
//	$DOCKER    the engine, as DOCKER_HOST words it
func TestBuilds(t *testing.T) {
	engine := buildtest.Engine(t)
	all := commands()
	all["aur"] = command((*world).cmdAUR)
	all["builder"] = command((*world).cmdBuilder)
	all["until"] = command((*world).cmdUntil)
	all["swept"] = command((*world).cmdSwept)
	all["engine"] = command((*world).cmdEngine)
	testscript.Run(t, testscript.Params{
		Dir:                "testdata/build",
		WorkdirRoot:        t.TempDir(),
		RequireUniqueNames: true,
		Cmds:               all,
		Setup:              func(env *testscript.Env) error { return setUpBuild(env, engine) },
	})
}

func setUpBuild(env *testscript.Env, engine string) error {
	dir, err := os.MkdirTemp(env.WorkDir, "aur")
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	aur, err := aurtest.Serve(dir, l)
	if err != nil {
		return err
	}
	env.Defer(func() { aur.Close() })
	env.Values[aurKey{}] = aur
	env.Setenv("AUR", aur.URL)
	// To curl a name below localhost is this machine.
	env.Setenv("GIT_HOST", strings.Replace(l.Addr().String(), "127.0.0.1", "git.localhost", 1))
	env.Setenv("DOCKER", engineFor(env, engine))
	env.Defer(func() { removeCaches(env) })
	env.Setenv("IMAGE", buildtest.Image)
	config := filepath.Join(env.WorkDir, "serene.toml")
	extra, err := os.ReadFile(config)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(config, append([]byte(buildConfig), extra...), 0o644); err != nil {
		return err
	}
	return setUp(env)
}

// engineFor is the shared engine, or one of the script's own where it brings a
// file called "engine".
func engineFor(env *testscript.Env, shared string) string {
	if _, err := os.Stat(filepath.Join(env.WorkDir, "engine")); err != nil {
		return shared
	}
	own := buildtest.NewPrivate(filepath.Join(env.WorkDir, "docker"))
	env.Values[engineKey{}] = own
	env.Defer(func() {
		ctx, cancel := within()
		defer cancel()
		if err := own.Close(ctx); err != nil {
			env.T().Log(err)
		}
	})
	return own.Host
}

// cmdEngine does something with the engine of the script's own: engine
// start|kill.
func (w *world) cmdEngine(ts *testscript.TestScript, neg bool, args []string) {
	own, _ := ts.Value(engineKey{}).(*buildtest.Private)
	if neg || own == nil || len(args) != 1 {
		ts.Fatalf("usage: engine start|kill, with a file engine")
	}
	ctx, cancel := within()
	defer cancel()
	switch args[0] {
	case "start":
		if err := own.Start(ctx); err != nil {
			log, _ := os.ReadFile(ts.MkAbs("docker/log"))
			ts.Fatalf("%v\n%s", err, log[max(0, len(log)-2000):])
		}
	case "kill":
		own.Kill()
	default:
		ts.Fatalf("unknown: %s", args[0])
	}
}

// cmdAUR publishes packages in the AUR: aur simple NAME VERSION [KEY=VALUE…] is
// one that installs a file, aur DIR one of each directory in DIR. A .SRCINFO
// that is missing is what makepkg prints.
func (w *world) cmdAUR(ts *testscript.TestScript, neg bool, args []string) {
	aur := ts.Value(aurKey{}).(*aurtest.Server)
	if len(args) >= 3 && args[0] == "simple" {
		var lines []string
		for _, arg := range args[3:] {
			lines = append(lines, strings.Replace(arg, "=", " = ", 1))
		}
		ts.Check(aur.Add(aurtest.Simple(args[1], args[2], lines...)))
		return
	}
	if neg || len(args) != 1 {
		ts.Fatalf("usage: aur DIR | aur simple NAME VERSION [KEY=VALUE…]")
	}
	packages, err := aurtest.FromFS(os.DirFS(ts.MkAbs(args[0])))
	ts.Check(err)
	ctx, cancel := within()
	defer cancel()
	for _, p := range packages {
		if p.Files[".SRCINFO"] == "" {
			p.Files[".SRCINFO"], err = aurtest.PrintSrcInfo(ctx, p)
			ts.Check(err)
		}
		ts.Check(aur.Add(p))
	}
}

// cmdBuilder does something with a serene-build: builder start|stop|kill [N].
// The first, 1, works in the state directory; the others have their own.
func (w *world) cmdBuilder(ts *testscript.TestScript, neg bool, args []string) {
	n := 1
	if len(args) == 2 {
		if _, err := fmt.Sscan(args[1], &n); err != nil {
			ts.Fatalf("no builder %s", args[1])
		}
		args = args[:1]
	}
	for len(w.builders) < n {
		w.builders = append(w.builders, w.newBuilder(len(w.builders)+1))
	}
	w.control(ts, neg, w.builders[n-1], args)
}

func (w *world) newBuilder(n int) *unit.Unit {
	u := w.unit("serene-build", nil)
	u.Env = append(u.Env[1:], "PATH="+os.Getenv("PATH"))
	if n > 1 {
		u.Args = []string{"--config", w.path("serene.toml"), "--state", w.path(fmt.Sprintf("builder%d", n))}
	}
	return u
}

// cmdUntil asks what ssh prints until that matches: until REGEXP KEY WORD….
func (w *world) cmdUntil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: until REGEXP KEY WORD…")
	}
	re, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	var out []byte
	await(ts, strings.Join(args, " "), func() bool {
		ctx, cancel := within()
		defer cancel()
		out, _ = w.ssh.Command(ctx, args[1], args[2:]...).CombinedOutput() // a failure does not match
		return re.Match(out)
	})
	ts.Stdout().Write(out)
}

// cmdSwept fails unless the builders have left nothing in the engine.
func (w *world) cmdSwept(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: swept")
	}
	for _, what := range []string{"container ls --all", "network ls"} {
		await(ts, "the engine to be swept", func() bool {
			left, err := leftBehind(ts.Getenv("DOCKER"), w.dir, what)
			ts.Check(err)
			return len(left) == 0
		})
	}
}

// removeCaches takes the volumes of a script's builders out of an engine that
// outlives them.
func removeCaches(env *testscript.Env) {
	host := env.Getenv("DOCKER")
	volumes, err := leftBehind(host, env.WorkDir, "volume ls")
	if err == nil && len(volumes) > 0 {
		_, err = docker(host, append([]string{"volume", "rm"}, volumes...)...)
	}
	if err != nil {
		env.T().Log(err)
	}
}

// leftBehind lists what the builders with a state directory in dir have made in
// the engine.
func leftBehind(host, dir, list string) (all []string, err error) {
	ids, err := filepath.Glob(filepath.Join(dir, "*/build/id"))
	for _, file := range ids {
		id, failed := os.ReadFile(file)
		if failed != nil {
			return nil, failed
		}
		out, failed := docker(host, append(strings.Fields(list), "--quiet", "--filter", "label=serene.builder="+string(id))...)
		if failed != nil {
			return nil, failed
		}
		all = append(all, strings.Fields(out)...)
	}
	return all, err
}

func docker(host string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+host)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("docker %s: %w\n%s", args[0], err, out)
	}
	return string(out), err
}
