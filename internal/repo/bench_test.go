package repo

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
			theirs := repoAdd(b, r)
			b.ReportMetric(theirs.Seconds()*1e3, "repo-add-ms")
			b.ReportMetric(theirs.Seconds()/ours.Seconds(), "times-faster")
		})
	}
}

// repoAdd times repo-add, unsigned, adding one package to a copy of the
// current database.
func repoAdd(b *testing.B, r *testRepo) time.Duration {
	b.StopTimer()
	dir := b.TempDir()
	for _, h := range []half{dbHalf, filesHalf} {
		data, err := os.ReadFile(filepath.Join(r.store.archDir(place{"serene", "x86_64"}), "current", "serene"+h.suffix()))
		if err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "serene"+h.suffix()+".tar.zst"), data, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	data, file := alpmtest.Package("other", "1-1")
	if err := os.WriteFile(filepath.Join(dir, file), data, 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command("repo-add", "-q", "serene.db.tar.zst", file)
	cmd.Dir = dir
	start := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("repo-add: %v\n%s", err, out)
	}
	return time.Since(start)
}

// BenchmarkAdd100 adds a hundred packages at once to a repository of 5,000,
// reading them included.
func BenchmarkAdd100(b *testing.B) {
	r := filled(b, 5000)
	i := 0
	for b.Loop() {
		b.StopTimer()
		i++
		var pkgs []pkg
		for k := range 100 {
			pkgs = append(pkgs, build(fmt.Sprintf("new%02d", k), fmt.Sprintf("%d-1", i), alpmtest.Payload(100<<10)))
		}
		b.StartTimer()
		if o := r.push(pkgs...); o.Error != "" {
			b.Fatal(o.Error)
		}
	}
}

// BenchmarkOpen starts on a repository of 15,000 packages.
func BenchmarkOpen(b *testing.B) {
	r := filled(b, 15000)
	for b.Loop() {
		r.open()
	}
}
