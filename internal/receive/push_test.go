package receive

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"serene/internal/alpm/alpmtest"
	"serene/internal/repo"
)

func digest(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }

func TestPush(t *testing.T) {
	w := newWorld(t, true)
	data, file := alpmtest.Package("foo", "1-1")
	sum := digest(data)
	r := w.must(w.do(string(data), "push", file, "--sha256", strings.ToUpper(sum)))
	if want := "published serene/x86_64 foo 1-1 gen "; !strings.HasPrefix(r.out, want) || !strings.HasSuffix(r.out, " sha256:"+sum+"\n") {
		t.Errorf("receipt %q", r.out)
	}
	r = w.must(w.do(string(data), "push", file))
	if !strings.HasPrefix(r.out, "already there serene/x86_64 foo 1-1 ") {
		t.Errorf("second receipt %q", r.out)
	}
	w.empty()
}

func TestPushAnyGoesToEachArch(t *testing.T) {
	w := newWorld(t, true)
	data, file := alpmtest.Package("foo", "1-1", alpmtest.Arch("any"))
	r := w.must(w.do(string(data), "push", "--json", file))
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	var arches []string
	for _, line := range lines {
		var receipt repo.Receipt
		if err := json.Unmarshal([]byte(line), &receipt); err != nil {
			t.Fatal(err)
		}
		if receipt.SHA256 != digest(data) || receipt.Name != "foo" || receipt.Version != "1-1" || receipt.Repo != "serene" {
			t.Errorf("receipt %+v", receipt)
		}
		arches = append(arches, receipt.Arch)
	}
	if got := strings.Join(arches, " "); got != "x86_64 aarch64" {
		t.Errorf("published for %s", got)
	}
}

func TestPushRefuses(t *testing.T) {
	w := newWorld(t, true)
	w.push("foo", "2-1")
	good, file := alpmtest.Package("bar", "1-1")
	older, olderFile := alpmtest.Package("foo", "1-1")
	other, otherFile := alpmtest.Package("foo", "2-1", alpmtest.Desc("other bytes"))
	large, largeFile := alpmtest.Package("large", "1-1", alpmtest.Payload(2<<20))
	wrong := strings.Repeat("0", 64)
	for _, tt := range []struct {
		stdin string
		argv  string
		code  int
		line  string
	}{
		{"", "push", exitUsage, "push: no FILE given; usage: push " + verbNamed(t, "push").synopsis},
		{"", "push a b", exitUsage, "push: one FILE at a time; usage: push " + verbNamed(t, "push").synopsis},
		{"", "push --repo", exitUsage, "push: --repo needs a value"},
		{"", "push --sha256 12 " + file, exitUsage, "push " + file + ": --sha256 takes the 64 hexadecimal digits of FILE's digest"},
		{"", "push --sha256 " + wrong + " -", exitUsage, "push -: --sha256 is of one FILE, not of a tar; usage: push " + verbNamed(t, "push").synopsis},
		{"", "push " + file + ".sig", exitUsage, "push " + file + ".sig: a signature travels with its package: tar c FILE FILE.sig | ssh HOST push -"},
		{string(good), "push --repo nowhere " + file, exitNotFound, "push " + file + ": no repository nowhere"},
		{string(good), "push --sha256 " + wrong + " " + file, exitContent, "push " + file + ": sha256 is " + digest(good) + ", not " + wrong + " as declared"},
		{string(older), "push " + olderFile, exitConflict, "push " + olderFile + ": 1-1 is older than 2-1, which is published (--downgrade allows it)"},
		{string(other), "push " + otherFile, exitConflict, "push " + otherFile + ": 2-1 is published with other bytes; raise pkgrel"},
		{string(large), "push " + largeFile, exitTooLarge, "push " + largeFile + ": more than max_package = 1048576 bytes"},
	} {
		w.want(w.do(tt.stdin, strings.Fields(tt.argv)...), tt.code, tt.line)
	}
	w.empty()
	w.must(w.do(string(older), "push", "--downgrade", olderFile))
}

// TestPushOfBadContent holds only that a fault of the package is exit code 6
// and one line that begins as it should: which faults there are is alpm's.
func TestPushOfBadContent(t *testing.T) {
	w := newWorld(t, true)
	good, file := alpmtest.Package("foo", "1-1")
	noMTree, _ := alpmtest.Package("foo", "1-1", alpmtest.Without(".MTREE"))
	for name, tt := range map[string]struct{ stdin, file string }{
		"cut off":      {string(good[:len(good)-1]), file},
		"empty":        {"", file},
		"trailing":     {string(good) + "x", file},
		"another name": {string(good), "bar-1-1-x86_64.pkg.tar.zst"},
		"no .MTREE":    {string(noMTree), file},
		"not a name":   {string(good), "foo"},
		"a path":       {string(good), "../" + file},
	} {
		r := w.do(tt.stdin, "push", tt.file)
		if r.code != exitContent || !strings.HasPrefix(r.err, "push "+tt.file+": ") || strings.Count(r.err, "\n") != 1 {
			t.Errorf("%s: exit code %d: %s", name, r.code, r.err)
		}
	}
	w.empty()
}

func TestPushTar(t *testing.T) {
	w := newWorld(t, true)
	foo, fooFile := alpmtest.Package("foo", "1-1")
	bar, barFile := alpmtest.Package("bar", "1-1", alpmtest.Base("foo"))
	both := tarOf(t, "./"+fooFile, string(foo), "out/"+barFile, string(bar))
	r := w.must(w.do(both, "push", "-"))
	if n := strings.Count(r.out, "published serene/x86_64 "); n != 2 {
		t.Errorf("receipts %q", r.out)
	}
	// The record tar fills with zeros is part of it, whatever its size.
	w.must(w.do(both+strings.Repeat("\x00", 64<<10), "push", "-"))
	w.empty()

	// What pull --tar writes, push - takes back, and bytes are the same.
	r = w.must(w.do("", "pull", "--tar", "foo", "bar"))
	r = w.must(w.do(r.out, "push", "-", "--repo", "testing"))
	if n := strings.Count(r.out, "published testing/x86_64 "); n != 2 {
		t.Errorf("receipts %q", r.out)
	}
}

func TestPushTarRefuses(t *testing.T) {
	w := newWorld(t, true)
	foo, fooFile := alpmtest.Package("foo", "1-1")
	bad, badFile := alpmtest.Package("bad", "1-1", alpmtest.Without(".MTREE"))
	whole := tarOf(t, fooFile, string(foo))
	ended := len(whole) - 1024 // where the end-of-archive begins
	for name, tt := range map[string]struct{ stdin, want string }{
		"nothing":       {"", "push -: the tar is cut off: it has no end-of-archive"},
		"no end":        {whole[:ended], "push -: the tar is cut off: it has no end-of-archive"},
		"half an end":   {whole[:ended+512], "push -: the tar is cut off: it has no end-of-archive"},
		"most of end":   {whole[:ended+1023], "push -: the tar is cut off"},
		"in a member":   {whole[:ended/2], "push " + fooFile + ": the tar is cut off"},
		"in a header":   {whole[:100], "push -: the tar is cut off"},
		"not a tar":     {strings.Repeat("x", 4096), "push -: not a tar archive (uncompressed) of packages"},
		"more":          {whole + "x", "push -: there is more after the end of the tar"},
		"another tar":   {whole + whole, "push -: there is more after the end of the tar"},
		"too much zero": {whole + strings.Repeat("\x00", maxPadding+1), "push -: there is more after the end of the tar"},
		"a path up":     {tarOf(t, "../"+fooFile, string(foo)), "push ../" + fooFile + ": not a path inside the tar"},
		"absolute":      {tarOf(t, "/"+fooFile, string(foo)), "push /" + fooFile + ": not a path inside the tar"},
		"twice":         {tarOf(t, fooFile, string(foo), fooFile, string(foo)), "push " + fooFile + ": "},
		"no member":     {tarOf(t), "push -: the tar has no package"},
		"lone .sig":     {tarOf(t, fooFile+".sig", "x"), "push " + fooFile + ".sig: "},
		"one is bad":    {tarOf(t, fooFile, string(foo), badFile, string(bad)), "push " + badFile + ": "},
		"another file":  {tarOf(t, fooFile, string(foo), "README", "hi"), "push README: "},
		"newline":       {tarOf(t, "a\nb", ""), `push a\nb: `},
	} {
		r := w.do(tt.stdin, "push", "-")
		if r.code != exitContent || !strings.HasPrefix(r.err, tt.want) || strings.Count(r.err, "\n") != 1 {
			t.Errorf("%s: exit code %d: %swant %s", name, r.code, r.err, tt.want)
		}
	}
	w.empty()
	if r := w.must(w.do("", "list")); r.out != "" {
		t.Errorf("published:\n%s", r.out)
	}
}

// TestPushCutAnywhere sends every beginning of a tar that ends at a block.
func TestPushCutAnywhere(t *testing.T) {
	w := newWorld(t, false)
	foo, fooFile := alpmtest.Package("foo", "1-1")
	whole := tarOf(t, fooFile, string(foo), fooFile+".sig", strings.Repeat("\x00", 4096))
	for end := 0; end < len(whole); end += 256 {
		if r := w.do(whole[:end], "push", "-"); r.code != exitContent {
			t.Errorf("first %d bytes: exit code %d: %s", end, r.code, r.err)
		}
	}
	w.empty()
}

// FuzzPushTar asks that whatever stdin holds, a push is done, or is refused
// with one line and leaves nothing; and that what is done was sent to its end.
func FuzzPushTar(f *testing.F) {
	foo, fooFile := alpmtest.Package("foo", "1-1")
	whole := tarOf(f, fooFile, string(foo))
	f.Add(whole)
	for _, end := range []int{0, 100, 512, 1000, len(whole) - 1024, len(whole) - 512} {
		f.Add(whole[:end])
	}
	f.Add(whole + whole)
	w := newWorld(f, false)
	f.Fuzz(func(t *testing.T, stdin string) {
		w.t = t
		r := w.do(stdin, "push", "-", "--no-wait")
		switch {
		case r.code == exitOK && !strings.HasSuffix(stdin, strings.Repeat("\x00", 1024)):
			t.Error("accepted without an end-of-archive")
		case r.code != exitOK && (r.out != "" || strings.Count(r.err, "\n") != 1 || strings.Contains(r.err, "the server failed")):
			t.Errorf("exit code %d: %s%s", r.code, r.out, r.err)
		}
		if left := w.entries("staging"); left != nil {
			t.Errorf("left behind: %s", left)
		}
	})
}

func TestPushRights(t *testing.T) {
	w := newWorld(t, true)
	foo, fooFile := alpmtest.Package("foo", "1-1")
	hijack, hijackFile := alpmtest.Package("glibc", "1-1", alpmtest.Base("foo"))
	debug, debugFile := alpmtest.Package("foo-debug", "1-1", alpmtest.Base("foo"))
	fake, fakeFile := alpmtest.Package("foo-debug", "1-1", alpmtest.Base("foo"), alpmtest.MapPkgInfo(func(s string) string {
		return strings.Replace(s, "pkgtype=debug", "pkgtype=split", 1)
	}))
	any, anyFile := alpmtest.Package("foo", "1-1", alpmtest.Arch("any"))
	for _, tt := range []struct {
		rights, stdin, argv string
		code                int
		err                 string
	}{
		{"--allow pull", string(foo), "push " + fooFile, exitDenied, "push: not allowed: this key has --allow pull"},
		{"--repo testing", string(foo), "push " + fooFile, exitDenied, "push " + fooFile + ": not allowed in serene: this key has --repo testing"},
		{"--repo testing", string(foo), "push --repo nowhere " + fooFile, exitDenied, "push " + fooFile + ": not allowed in nowhere: this key has --repo testing"},
		{"--package bar", string(foo), "push " + fooFile, exitDenied, "push " + fooFile + ": not allowed to change foo: this key has --package bar"},
		{"--package foo", string(hijack), "push " + hijackFile, exitDenied, "push " + hijackFile + ": not allowed to change glibc: this key has --package foo"},
		{"--package foo", string(fake), "push " + fakeFile, exitDenied, "push " + fakeFile + ": not allowed to change foo-debug (base foo, arch x86_64): this key has --package foo"},
		{"--arch aarch64", string(foo), "push " + fooFile, exitDenied, "push " + fooFile + ": not allowed to change foo (base foo, arch x86_64): this key has --arch aarch64"},
		{"--arch aarch64", string(any), "push " + anyFile, exitDenied, "push " + anyFile + ": not allowed to change foo (base foo, arch any): this key has --arch aarch64"},
		{"--max-size 100", string(foo), "push " + fooFile, exitTooLarge, "push " + fooFile + ": more than the 100 B this key may send in a file"},
		{"--max-size 100", tarOf(t, fooFile, string(foo)), "push -", exitTooLarge, "push " + fooFile + ": more than the 100 B this key may send in a file"},
	} {
		w.want(w.as(tt.rights, tt.stdin, strings.Fields(tt.argv)...), tt.code, tt.err)
	}
	w.empty()
	w.must(w.as("--allow push --package foo --repo serene", string(foo), "push", fooFile))
	r := w.must(w.as("--allow push --package foo --repo serene", string(debug), "push", debugFile))
	if !strings.HasPrefix(r.out, "published serene-debug/x86_64 foo-debug 1-1 ") {
		t.Errorf("receipt %q", r.out)
	}
}

func TestPushWithoutWriter(t *testing.T) {
	w := newWorld(t, false)
	w.PublishWait = time.Millisecond
	data, file := alpmtest.Package("foo", "1-1")
	w.want(w.do(string(data), "push", file), exitBusy, "push "+file+": accepted, not yet published")
	r := w.must(w.do(string(data), "push", file, "--no-wait"))
	if !strings.HasPrefix(r.out, "accepted ") {
		t.Errorf("printed %q", r.out)
	}
	w.startWriter(w.Store)
	w.PublishWait = 20 * time.Second
	r = w.must(w.do(string(data), "push", file))
	if !strings.HasPrefix(r.out, "already there ") {
		t.Errorf("receipt %q", r.out)
	}
}

func TestPushInterrupted(t *testing.T) {
	w := newWorld(t, false)
	data, file := alpmtest.Package("foo", "1-1")
	rights := AllRights()

	// The whole package came, and then the client went before it was done.
	ctx, cancel := context.WithCancel(context.Background())
	last := io.MultiReader(strings.NewReader(string(data)), readFunc(func([]byte) (int, error) {
		cancel()
		return 0, io.EOF
	}))
	w.want(w.run(ctx, rights, last, "push", file), exitBusy, "push "+file+": interrupted")

	ctx, cancel = context.WithCancel(context.Background())
	cancel()
	w.want(w.run(ctx, rights, iotest.ErrReader(errors.New("broken")), "push", file), exitBusy, "push "+file+": interrupted")

	r := w.run(context.Background(), rights, iotest.ErrReader(errors.New("disk /secret/path failed")), "push", file)
	w.want(r, exitBusy, "push "+file+": the server failed; its log says why")
	if !strings.Contains(w.log.String(), "disk /secret/path failed") {
		t.Error("the log does not say why")
	}
	w.empty()
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(b []byte) (int, error) { return f(b) }

func TestPanic(t *testing.T) {
	w := newWorld(t, false)
	_, file := alpmtest.Package("foo", "1-1")
	r := w.run(context.Background(), AllRights(), readFunc(func([]byte) (int, error) { panic("boom") }), "push", file)
	w.want(r, exitBusy, "push "+file+": the server failed; its log says why")
	if log := w.log.String(); !strings.Contains(log, "boom") || !strings.Contains(log, "push_test.go") {
		t.Errorf("the log has no stack: %s", log)
	}
	w.empty()
}
