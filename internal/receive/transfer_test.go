package receive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gosftp "github.com/pkg/sftp"

	"serene/internal/alpm/alpmtest"
)

// sftpSession is a session of the SFTP protocol, with a client at its end.
type sftpSession struct {
	*gosftp.Client
	w      *world
	hangUp io.Closer
	stderr bytes.Buffer
	code   chan int
}

func (w *world) sftp(rights string) *sftpSession {
	w.t.Helper()
	fromClient, toServer := io.Pipe()
	fromServer, toClient := io.Pipe()
	s := &sftpSession{w: w, hangUp: toServer, code: make(chan int, 1)}
	by := Caller{Key: "SHA256:abc", Comment: "ci@example", Rights: mustRights(w.t, "serene-receive "+rights)}
	go func() {
		s.code <- w.RunSFTP(context.Background(), by, Streams{fromClient, toClient, &s.stderr})
		fromClient.Close()
		toClient.Close()
	}()
	var err error
	if s.Client, err = gosftp.NewClientPipe(fromServer, toServer); err != nil {
		w.t.Fatal(err)
	}
	return s
}

// put sends one file and returns what its close says.
func (s *sftpSession) put(path string, content []byte) error {
	f, err := s.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// end ends the session, and returns what it came to.
func (s *sftpSession) end() result {
	s.hangUp.Close()
	r := result{code: <-s.code, err: s.stderr.String()}
	s.Client.Close()
	return r
}

func TestSFTPSessionIsOneTransaction(t *testing.T) {
	w := newWorld(t, true)
	foo, fooFile := alpmtest.Package("foo", "1-1")
	bar, barFile := alpmtest.Package("bar", "1-1")
	s := w.sftp("")
	for path, data := range map[string][]byte{"/" + fooFile: foo, "/serene/" + barFile: bar} {
		if err := s.put(path, data); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	if got := w.must(w.do("", "list")).out; got != "" {
		t.Errorf("published before the session ended: %s", got)
	}
	r := s.end()
	if r.code != exitOK || strings.Count(r.err, "gen 2") != 2 {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
	if got := w.must(w.do("", "list")).out; got != "serene/x86_64 bar 1-1\nserene/x86_64 foo 1-1\n" {
		t.Errorf("published %q", got)
	}
	w.empty()
}

func TestSFTPBadFileFailsAtItsClose(t *testing.T) {
	w := newWorld(t, true)
	good, goodFile := alpmtest.Package("good", "1-1")
	_, badFile := alpmtest.Package("bad", "1-1")
	s := w.sftp("")
	if err := s.put("/serene/"+goodFile, good); err != nil {
		t.Fatal(err)
	}
	err := s.put("/serene/"+badFile, []byte("not a package"))
	if err == nil || !strings.Contains(err.Error(), "no archive") {
		t.Errorf("close: %v", err)
	}
	r := s.end()
	if r.code != exitContent || !strings.Contains(r.err, "nothing is published, since "+badFile+" was refused") {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
	if got := w.must(w.do("", "list")).out; got != "" {
		t.Errorf("published %q", got)
	}
	w.empty()
}

func TestSFTPFileSentAgainIsGood(t *testing.T) {
	w := newWorld(t, true)
	data, file := alpmtest.Package("foo", "1-1")
	s := w.sftp("")
	if err := s.put("/"+file, data[:len(data)/2]); err == nil {
		t.Error("half a package was taken")
	}
	if err := s.put("/"+file, data); err != nil {
		t.Error(err)
	}
	if r := s.end(); r.code != exitOK {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
	w.empty()
}

func TestSFTPRefusesBeforeTheBytes(t *testing.T) {
	w := newWorld(t, true)
	w.push("foo", "2-1")
	_, file := alpmtest.Package("foo", "1-1")
	for _, tt := range []struct {
		rights, path, want string
		code               int
	}{
		{"", "/serene/notes.txt", "does not end in .pkg.tar", exitContent},
		{"", "/nosuch/" + file, "no repository nosuch", exitNotFound},
		{"", "/serene/x86_64/" + file, "put packages into /serene/", exitUsage},
		{"", "/serene/deep/er/" + file, "put package files into / or /REPO/", exitUsage},
		{"", "/../../etc/passwd", "does not end in .pkg.tar", exitContent},
		{"--repo testing", "/serene/" + file, "not allowed in serene", exitDenied},
		{"--package 'bar*'", "/serene/" + file, "not allowed to change foo", exitDenied},
		{"--allow read", "/serene/" + file, "not allowed", exitDenied},
	} {
		s := w.sftp(tt.rights)
		err := s.put(tt.path, nil)
		if err == nil {
			t.Errorf("%s with %q: taken", tt.path, tt.rights)
		}
		r := s.end()
		if r.code != tt.code || !strings.Contains(r.err, tt.want) {
			t.Errorf("%s with %q: exit code %d: %s", tt.path, tt.rights, r.code, r.err)
		}
	}
	w.empty()
}

func TestSFTPSizes(t *testing.T) {
	w := newWorld(t, true)
	data, file := alpmtest.Package("foo", "1-1")
	s := w.sftp("--max-size 100")
	if err := s.put("/"+file, data); err == nil || !strings.Contains(err.Error(), "100 B") {
		t.Errorf("over --max-size: %v", err)
	}
	f, err := s.OpenFile("/"+file+".sig", os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("x"), 1<<62); err == nil {
		t.Error("a signature of 4 EiB")
	}
	f.Close()
	if r := s.end(); r.code != exitTooLarge {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
	w.empty()
}

// A client that goes away in the middle leaves the file to be resumed, by its
// key alone, and publishes nothing.
func TestSFTPBrokenOffAndResumed(t *testing.T) {
	w := newWorld(t, true)
	other, otherFile := alpmtest.Package("other", "1-1")
	data, file := alpmtest.Package("foo", "1-1")
	s := w.sftp("")
	if err := s.put("/"+otherFile, other); err != nil {
		t.Fatal(err)
	}
	f, err := s.OpenFile("/"+file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(data[:500]); err != nil {
		t.Fatal(err)
	}
	if r := s.end(); r.code != exitContent || !strings.Contains(r.err, "reput") {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
	if got := w.must(w.do("", "list")).out; got != "" {
		t.Errorf("published %q", got)
	}
	w.empty()

	s = w.sftp("")
	info, err := s.Stat("/" + file)
	if err != nil || info.Size() != 499 {
		t.Fatalf("what came: %v, %v", info, err)
	}
	f, err = s.OpenFile("/"+file, os.O_WRONLY|os.O_CREATE|os.O_APPEND)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(data[499:], 499); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if r := s.end(); r.code != exitOK || !strings.Contains(r.err, "published serene/x86_64 foo 1-1") {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
	w.empty()
}

func TestPartialsAreTheirKeys(t *testing.T) {
	root := t.TempDir()
	mine, yours := partials{root, "mine"}, partials{root, "yours"}
	f, err := mine.open("serene", "foo-1-1-any.pkg.tar", false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := yours.stat("serene", "foo-1-1-any.pkg.tar"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another key sees it: %v", err)
	}
	if _, err := mine.open("serene", "foo-1-1-any.pkg.tar", true); exitCode(err) != exitBusy {
		t.Errorf("two sessions send it at once: %v", err)
	}
	for i := range maxPartials - 1 {
		f, err := mine.open("serene", fmt.Sprintf("foo-%d-2-any.pkg.tar", i), false)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	if _, err := mine.open("serene", "foo-9-9-any.pkg.tar", false); exitCode(err) != exitTooLarge {
		t.Errorf("one more than may be: %v", err)
	}
	if err := mine.sweep(time.Now().Add(partialKeep + time.Hour)); err != nil {
		t.Fatal(err)
	}
	if left := mine.list("serene"); len(left) > 0 {
		t.Errorf("not swept: %d", len(left))
	}
}

// A file that one session has moved into its transaction must not be written
// to by another that had it open.
func TestPartialMovedAwayIsNotOurs(t *testing.T) {
	p := partials{t.TempDir(), "key"}
	f, err := p.open("serene", "foo-1-1-any.pkg.tar", false)
	if err != nil {
		t.Fatal(err)
	}
	late, err := os.OpenFile(f.Name(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	if err := os.Rename(f.Name(), filepath.Join(p.root, "taken")); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := own(late); exitCode(err) != exitBusy {
		t.Errorf("own: %v", err)
	}
}

func TestSFTPReading(t *testing.T) {
	w := newWorld(t, true)
	w.push("foo", "1-1")
	w.push("bar", "1-1")
	data, file := alpmtest.Package("foo", "1-1")

	for _, tt := range []struct{ rights, dir, want string }{
		{"", "/", "serene serene-debug testing testing-debug"},
		{"--repo testing", "/", "testing testing-debug"},
		{"", "/serene", "aarch64 x86_64"},
		{"--arch x86_64", "/serene", "x86_64"},
		{"", "/serene/x86_64", "bar-1-1-x86_64.pkg.tar.zst bar-1-1-x86_64.pkg.tar.zst.sig " + file + " " + file +
			".sig serene.db serene.db.sig serene.files serene.files.sig"},
		{"--package foo", "/serene/x86_64", file + " " + file + ".sig"},
		{"--allow push", "/serene/x86_64", ""},
	} {
		s := w.sftp(tt.rights)
		infos, err := s.ReadDir(tt.dir)
		if err != nil {
			t.Errorf("%s with %q: %v", tt.dir, tt.rights, err)
		}
		var names []string
		for _, info := range infos {
			names = append(names, info.Name())
			if !info.IsDir() && info.Size() == 0 {
				t.Errorf("%s is empty", info.Name())
			}
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); got != tt.want {
			t.Errorf("%s with %q: %s, want %s", tt.dir, tt.rights, got, tt.want)
		}
		s.end()
	}

	s := w.sftp("")
	f, err := s.Open("/serene/x86_64/" + file)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(f)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	if r := s.end(); r.code != exitOK || r.err != "" {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
}

func TestSFTPAbsent(t *testing.T) {
	w := newWorld(t, true)
	w.push("foo", "1-1")
	_, file := alpmtest.Package("foo", "1-1")
	for rights, paths := range map[string][]string{
		"":                   {"/nosuch", "/serene/nosuch", "/serene/x86_64/nosuch", "/serene/../../etc", "/etc/passwd", "/serene/" + file},
		"--repo testing":     {"/serene", "/serene/x86_64", "/serene/x86_64/" + file},
		"--package bar":      {"/serene/x86_64/" + file, "/serene/x86_64/serene.db"},
		"--arch aarch64":     {"/serene/x86_64", "/serene/x86_64/" + file},
		"--allow push":       {"/serene/x86_64/" + file},
		"--allow push,hello": {"/serene/x86_64/serene.db"},
	} {
		s := w.sftp(rights)
		for _, path := range paths {
			if _, err := s.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("stat %s with %q: %v", path, rights, err)
			}
			if f, err := s.Open(path); err == nil {
				t.Errorf("open %s with %q: %s", path, rights, f.Name())
			}
			if _, err := s.ReadDir(path); err == nil {
				t.Errorf("list %s with %q", path, rights)
			}
		}
		s.end()
	}
	s := w.sftp("--allow list")
	if _, err := s.Open("/serene/x86_64/" + file); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("seen, but not to be pulled: %v", err)
	}
	s.end()
}

func TestSFTPChangesNothingElse(t *testing.T) {
	w := newWorld(t, true)
	w.push("foo", "1-1")
	_, file := alpmtest.Package("foo", "1-1")
	s := w.sftp("")
	path := "/serene/x86_64/" + file
	for what, err := range map[string]error{
		"rename":       s.Rename(path, "/serene/x86_64/other"),
		"posix-rename": s.PosixRename(path, "/serene/x86_64/other"),
		"remove":       s.Remove(path),
		"rmdir":        s.RemoveDirectory("/serene/x86_64"),
		"mkdir":        s.Mkdir("/serene/new"),
		"symlink":      s.Symlink("/etc/passwd", "/serene/x86_64/link"),
		"link":         s.Link(path, "/serene/x86_64/link"),
	} {
		if err == nil {
			t.Errorf("%s was done", what)
		}
	}
	if _, err := s.ReadLink(path); err == nil {
		t.Error("there is a link")
	}
	if err := s.Chtimes(path, time.Now(), time.Now()); err != nil {
		t.Errorf("times are to be ignored: %v", err)
	}
	if r := s.end(); r.code != exitOK {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
}

func TestSFTPHandlesAreBounded(t *testing.T) {
	w := newWorld(t, true)
	s := w.sftp("")
	var err error
	for range maxHandles + 1 {
		if _, err = s.Open("/serene/x86_64/serene.db"); err != nil {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "open already") {
		t.Errorf("one more than may be: %v", err)
	}
	s.end()
}

func TestSFTPNeedsAVerbItStandsFor(t *testing.T) {
	w := newWorld(t, false)
	by := Caller{Rights: mustRights(t, "serene-receive --allow hello")}
	var stderr bytes.Buffer
	code := w.RunSFTP(context.Background(), by, Streams{strings.NewReader(""), io.Discard, &stderr})
	if code != exitDenied {
		t.Errorf("exit code %d: %s", code, &stderr)
	}
}

// However many files are refused, a session remembers few of them, and cannot
// be made good any more.
func TestSFTPManyRefused(t *testing.T) {
	w := newWorld(t, true)
	data, file := alpmtest.Package("foo", "1-1")
	s := w.sftp("")
	for i := range 2 * maxFailed {
		if s.put(fmt.Sprintf("/%d", i), nil) == nil {
			t.Fatal("taken")
		}
	}
	if err := s.put("/"+file, data); err != nil {
		t.Fatal(err)
	}
	if r := s.end(); r.code != exitContent || !strings.Contains(r.err, "nothing is published") || len(r.err) > 100_000 {
		t.Errorf("exit code %d: %.300s", r.code, r.err)
	}
}

// cutReader ends like a connection that broke.
type cutReader struct{ io.Reader }

func (r cutReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func TestSFTPOverABrokenConnectionPublishesNothing(t *testing.T) {
	w := newWorld(t, true)
	data, file := alpmtest.Package("foo", "1-1")
	const open, closed, write = 3, 4, 6
	stdin := bytes.Join([][]byte{packet(1, 3), packet(open, 1, "/"+file, 0x1a, 0), packet(write, 2, "1", int64(0), string(data)), packet(closed, 3, "1")}, nil)
	by := Caller{Key: "SHA256:abc", Rights: AllRights()}
	for _, tt := range []struct {
		stdin io.Reader
		code  int
	}{{cutReader{bytes.NewReader(stdin)}, exitBusy}, {bytes.NewReader(stdin), exitOK}} {
		var stderr bytes.Buffer
		code := w.RunSFTP(context.Background(), by, Streams{tt.stdin, io.Discard, &stderr})
		if code != tt.code || strings.Contains(stderr.String(), "published") != (tt.code == exitOK) {
			t.Errorf("exit code %d, want %d: %s", code, tt.code, &stderr)
		}
	}
	w.empty()
}
