package repo

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"serene/internal/alpm/alpmtest"
)

// forty packages, among them every kind of field, many values of one field, odd
// versions and names, file names that bsdtar escapes, and nothing at all.
func forty() []pkg {
	var all []pkg
	add := func(name, version string, opts ...alpmtest.Option) { all = append(all, build(name, version, opts...)) }
	for _, key := range []string{"license", "replaces", "group", "conflict", "provides", "backup", "depend", "optdepend", "makedepend", "checkdepend"} {
		add("one-"+key, "1-1", alpmtest.Info(key, "value"))
		add("many-"+key, "1-1", info(key, "value", "other", "third1")...)
	}
	for i, dep := range []string{"glibc>=2.38", "libfoo.so=1-64", "lib:libfoo.so.1", "a<1:2-3", "b=1:0.5+r3-1", "c<=1", "d>1"} {
		add(fmt.Sprintf("dep%d", i), "1-1", alpmtest.Info("depend", dep))
	}
	add("optional", "1-1", info("optdepend", "python: for scripts", "perl>=5: for: colons", "bare")...)
	add("epoch", "3:1.2.r10.gabcdef+dirty-1.1")
	add("any", "20240101-1", alpmtest.Arch("any"))
	add("base", "1-1", alpmtest.Base("other-base"))
	add("gtk+extra@2", "1_0-1")
	add("text", "1-1", alpmtest.Desc("ünïcödé — \"quotes\", 'single', $HOME `x` \\n %x"), alpmtest.URL("https://example.org/?a=b&c=d#e"), alpmtest.Packager("Jörg <j@example.org>"))
	add("undescribed", "1-1", alpmtest.Desc(""), alpmtest.URL(""))
	add("empty", "1-1", alpmtest.Empty())
	add("old", "1-1", alpmtest.V1())
	add("xz", "1-1", alpmtest.Ext(".pkg.tar.xz"))
	add("plain", "1-1", alpmtest.Ext(".pkg.tar"))
	add("names", "1-1", alpmtest.With(alpmtest.File("usr/ü", ""), alpmtest.File("usr/a\\x2db.slice", ""), alpmtest.File("usr/two  spaces ", "x"),
		alpmtest.Dir("etc/foo-bar"), alpmtest.File("etc/foo.d", "y"), alpmtest.File("usr/share/.hidden", "z"), alpmtest.Symlink("usr/link", "../etc"), alpmtest.HardLink("usr/ü2", "usr/ü")))
	add("large", "1-1", alpmtest.Payload(3<<20))
	return all
}

var md5Field = regexp.MustCompile(`%MD5SUM%\n[0-9a-f]{32}\n\n`)

// What is published for forty packages is, field by field, what repo-add writes
// for them, but for the MD5 that repo-add has dropped since.
func TestEqualsRepoAdd(t *testing.T) {
	r := newTestRepo(t)
	all := forty()
	if len(all) != 40 {
		t.Fatalf("%d packages", len(all))
	}
	if o := r.push(all...); o.Error != "" {
		t.Fatal(o.Error)
	}
	dir := t.TempDir()
	args := []string{"-q", "serene.db.tar.zst"}
	for _, p := range all {
		if err := os.WriteFile(filepath.Join(dir, p.name), p.data, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, p.name)
	}
	cmd := exec.Command("repo-add", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "LC_ALL=C.UTF-8")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("repo-add: %v\n%s", err, out)
	}
	for _, h := range []half{dbHalf, filesHalf} {
		ours := unpack(t, r.store.path("repos/serene/x86_64/current/serene"+h.suffix()))
		theirs := unpack(t, filepath.Join(dir, "serene"+h.suffix()))
		if len(ours) != len(theirs) {
			t.Errorf("%s: %d files, repo-add writes %d", h.suffix(), len(ours), len(theirs))
		}
		for name, want := range theirs {
			if want = md5Field.ReplaceAllString(want, ""); ours[name] != want {
				t.Errorf("%s of %s is\n%s\nrepo-add has\n%s", name, h.suffix(), ours[name], want)
			}
		}
	}
}

// unpack is the files in a database, by name, as libarchive reads them.
func unpack(t *testing.T, db string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("bsdtar", "-xf", db, "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("bsdtar: %v\n%s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimPrefix(file, dir+"/")] = string(data)
	}
	return all
}
