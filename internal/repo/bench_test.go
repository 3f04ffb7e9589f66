package repo

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"serene/internal/alpm"
	"serene/internal/alpm/alpmtest"
)

// filled is a repository with n packages in its database, whose files do not
// exist: what a refresh costs does not depend on them.
func filled(b *testing.B, n int) *testRepo {
	b.Helper()
	r := newTestRepo(b)
	p := place{"serene", "x86_64"}
	d := edit(b, emptyDatabase, typical(n))
	b.StopTimer()
	g := &generation{db: d}
	if err := r.w.commitFresh("serene", map[place]*generation{p: g}, &Record{Actor: Actor{Verb: "start"}}); err != nil {
		b.Fatal(err)
	}
	warm(b.Context(), d.groups) // as a daemon that has started
	b.StartTimer()
	return r
}

// typical entries are of the size formats.md measured: 2 kB of desc and a list
// of 108 files.
func typical(n int) []addition {
	var all []addition
	for i := range n {
		a := entry(fmt.Sprintf("pkg%05d", i), fmt.Sprintf("1.%d-1", i))
		var files []string
		for k := range 108 {
			files = append(files, fmt.Sprintf("usr/lib/%s/module%03d/component-%x.so", a.entry.Name, k, i*7919+k))
		}
		a.files = alpm.AppendFiles(nil, files)
		all = append(all, a)
	}
	return all
}

// theirs does what repo-add --sign does, in a directory of its own, with a key
// of its own.
type theirs struct {
	b    *testing.B
	dir  string
	home string // of gpg
}

func newTheirs(b *testing.B) *theirs {
	b.Helper()
	home, err := os.MkdirTemp("", "gpg") // the agent's socket needs a short path
	if err != nil {
		b.Fatal(err)
	}
	t := &theirs{b: b, dir: b.TempDir(), home: home}
	b.Cleanup(func() {
		t.run("gpgconf", "--kill", "all")
		os.RemoveAll(home)
	})
	t.run("gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", "bench <bench@localhost>", "ed25519", "sign", "never")
	return t
}

func (t *theirs) run(name string, args ...string) time.Duration {
	t.b.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = t.dir
	cmd.Env = append(os.Environ(), "GNUPGHOME="+t.home)
	start := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.b.Fatalf("%s: %v\n%s", name, err, out)
	}
	return time.Since(start)
}

// has gives repo-add the databases that r publishes.
func (t *theirs) has(r *testRepo) {
	t.b.Helper()
	for _, h := range []half{dbHalf, filesHalf} {
		data, err := os.ReadFile(filepath.Join(r.store.archDir(place{"serene", "x86_64"}), "current", "serene"+h.suffix()))
		if err != nil {
			t.b.Fatal(err)
		}
		t.write("serene"+h.suffix()+".tar.zst", data)
	}
}

func (t *theirs) write(name string, data []byte) {
	t.b.Helper()
	if err := os.WriteFile(filepath.Join(t.dir, name), data, 0o600); err != nil {
		t.b.Fatal(err)
	}
}

// add times repo-add --sign for pkgs.
func (t *theirs) add(pkgs ...pkg) time.Duration {
	args := []string{"-q", "--sign", "serene.db.tar.zst"}
	for _, p := range pkgs {
		t.write(p.name, p.data)
		args = append(args, p.name)
	}
	return t.run("repo-add", args...)
}

func (t *theirs) report(name string, took, ours time.Duration) {
	t.b.ReportMetric(took.Seconds()*1e3, name+"-ms")
	t.b.ReportMetric(took.Seconds()/ours.Seconds(), "times-faster")
}

// BenchmarkRefresh adds one package to a repository of n: pool, both databases,
// both signatures, fsync, flip, outcome. Beside it, in the same run, repo-add
// on a database of the same packages.
func BenchmarkRefresh(b *testing.B) {
	for _, n := range []int{10, 1000, 15000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := filled(b, n)
			i := 0
			for b.Loop() {
				b.StopTimer()
				i++
				id, err := r.submit(TxOptions{}, nil, build("added", fmt.Sprintf("%d-1", i)))
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				r.refresh()
				if o := r.outcome(id); o.Error != "" {
					b.Fatal(o.Error)
				}
			}
			ours := b.Elapsed() / time.Duration(i)
			t := newTheirs(b)
			t.has(r)
			t.report("repo-add", t.add(build("other", "1-1")), ours)
		})
	}
}

// BenchmarkAdd100 adds a hundred packages at once to a repository of 5,000,
// reading them included.
func BenchmarkAdd100(b *testing.B) {
	r := filled(b, 5000)
	i := 0
	var pkgs []pkg
	for b.Loop() {
		b.StopTimer()
		i++
		pkgs = nil
		for k := range 100 {
			pkgs = append(pkgs, build(fmt.Sprintf("new%02d", k), fmt.Sprintf("%d-1", i), alpmtest.Payload(100<<10)))
		}
		b.StartTimer()
		if o := r.push(pkgs...); o.Error != "" {
			b.Fatal(o.Error)
		}
	}
	ours := b.Elapsed() / time.Duration(i)
	t := newTheirs(b)
	t.has(r)
	t.report("repo-add", t.add(pkgs...), ours)
}

// benchPackages are the packages of an import.
func benchPackages(n int) []pkg {
	var pkgs []pkg
	for k := range n {
		pkgs = append(pkgs, build(fmt.Sprintf("imported%03d", k), "1-1", alpmtest.Payload(100<<10)))
	}
	return pkgs
}

// BenchmarkImport takes a folder of 500 packages into an empty repository:
// reading every one, one generation, published. repo-add gets the same ones.
func BenchmarkImport(b *testing.B) {
	pkgs, dir := benchPackages(500), b.TempDir()
	for _, p := range pkgs {
		if err := os.WriteFile(filepath.Join(dir, p.name), p.data, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	i := 0
	for b.Loop() {
		b.StopTimer()
		r := newTestRepo(b)
		b.StartTimer()
		i++
		report, err := r.store.Import(b.Context(), dir, "serene", Actor{}, func(int, int) {})
		if err != nil || report.Taken != len(pkgs) {
			b.Fatal(report, err)
		}
		r.refresh()
	}
	ours := b.Elapsed() / time.Duration(i)
	t := newTheirs(b)
	t.report("repo-add", t.add(pkgs...), ours)
}

// BenchmarkVerify is doctor on a repository of 500 packages: every package file
// against its digest and signature, both databases, the journal. Beside it, gpg
// and sha256sum on the same files.
func BenchmarkVerify(b *testing.B) {
	r := newTestRepo(b)
	pkgs := benchPackages(500)
	if o := r.push(pkgs...); o.Error != "" {
		b.Fatal(o.Error)
	}
	i := 0
	for b.Loop() {
		i++
		if problems, err := r.store.Doctor(b.Context()); len(problems) > 0 || err != nil {
			b.Fatal(problems, err)
		}
	}
	ours := b.Elapsed() / time.Duration(i)
	t := newTheirs(b)
	t.run("gpg", "--batch", "--quiet", "--import", r.store.publicKeyFile())
	t.report("gpg", t.run("bash", "-c", "set -e; cd "+r.store.pool("serene")+"; sha256sum *.pkg.tar.zst >/dev/null; for f in *.sig; do gpg --quiet --verify $f; done"), ours)
}

// BenchmarkOpen starts on a repository of 15,000 packages, none of which it
// opens.
func BenchmarkOpen(b *testing.B) {
	r := filled(b, 15000)
	for b.Loop() {
		r.open()
	}
}

// BenchmarkMemory is a daemon's life with 15,000 packages in a process of its
// own, started, warmed and having refreshed: the most it ever held.
func BenchmarkMemory(b *testing.B) {
	r := filled(b, 15000)
	r.w.Close()
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	peak := 0.0
	for b.Loop() {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), faultChild+"="+r.dir, faultScenario+"=memory")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			b.Fatal(err, out.String())
		}
		if _, err := fmt.Sscanf(strings.TrimSpace(out.String()), "peak %g", &peak); err != nil {
			b.Fatal(err, out.String())
		}
	}
	b.ReportMetric(peak, "resident-MiB")
	if peak > 250 {
		b.Errorf("%.0f MiB resident with 15,000 packages, want at most 250", peak)
	}
}
