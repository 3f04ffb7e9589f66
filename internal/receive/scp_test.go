package receive

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"serene/internal/alpm/alpmtest"
)

// scpFile is a file as scp -O sends it.
func scpFile(name string, content []byte) string {
	return fmt.Sprintf("C0644 %d %s\n%s\x00", len(content), name, content)
}

func TestSCPSink(t *testing.T) {
	w := newWorld(t, true)
	foo, fooFile := alpmtest.Package("foo", "1-1")
	bar, barFile := alpmtest.Package("bar", "1-1")
	r := w.do("T1 0 1 0\n"+scpFile(fooFile, foo)+scpFile(barFile, bar), "scp", "-p", "-t", "/serene/")
	if r.code != exitOK || r.out != "\x00\x00\x00\x00\x00\x00" || strings.Count(r.err, "gen 2") != 2 {
		t.Errorf("exit code %d, said %q: %s", r.code, r.out, r.err)
	}
	r = w.do(scpFile("any-name", foo), "scp", "-t", "--", "/serene/"+fooFile)
	if r.code != exitOK || !strings.HasPrefix(r.err, "already there") {
		t.Errorf("to a name: exit code %d: %s", r.code, r.err)
	}
	w.empty()
}

func TestSCPSinkRefuses(t *testing.T) {
	w := newWorld(t, true)
	good, goodFile := alpmtest.Package("good", "1-1")
	_, file := alpmtest.Package("foo", "1-1")
	for name, tt := range map[string]struct {
		stdin, to string
		code      int
		said      string // at the end of the protocol
	}{
		"a bad package":       {scpFile(file, []byte("junk")), "/", exitContent, "scp: " + file + ": file name ends in"},
		"another name":        {"C0644 4 notes.txt\n", "/", exitContent, "scp: notes.txt: file name notes.txt"},
		"no such repository":  {"C0644 4 " + file + "\n", "/nosuch", exitNotFound, "no repository nosuch"},
		"too large":           {"C0644 99999999 " + file + "\n", "/", exitTooLarge, "\x01scp: " + file + ": more than the 1.0 MiB"},
		"a good and a bad":    {scpFile(goodFile, good) + scpFile(file, []byte("junk")), "/", exitContent, "scp: " + file},
		"a path for a name":   {"C0644 4 ../" + file + "\n", "/", exitUsage, "\x02scp: "},
		"a negative size":     {"C0644 -4 " + file + "\n", "/", exitUsage, "\x02scp: "},
		"a directory":         {"D0755 0 dir\n", "/", exitUsage, "\x02scp: a directory"},
		"not the protocol":    {"GET / HTTP/1.1\r\n", "/", exitUsage, "\x02scp: "},
		"a line without end":  {strings.Repeat("C", 1<<20), "/", exitUsage, ""},
		"cut off in a line":   {"C0644 4 foo", "/", exitBusy, ""},
		"cut off in the file": {"C0644 400 " + file + "\nabc", "/", exitContent, ""},
		"cut off at the end":  {"C0644 4 " + file + "\njunk", "/", exitContent, ""},
		"the sender failed":   {"C0644 4 " + file + "\njunk\x01scp: read error\n", "/", exitContent, "read error"},
		"the sender warns":    {"\x01scp: foo: No such file\n", "/", exitContent, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := w.do(tt.stdin, "scp", "-t", tt.to)
			if r.code != tt.code || !strings.Contains(r.out, tt.said) {
				t.Errorf("exit code %d, said %q: %s", r.code, r.out, r.err)
			}
			if strings.Contains(r.err, "published") && !strings.Contains(r.err, "nothing is published") {
				t.Errorf("published: %s", r.err)
			}
		})
	}
	w.empty()
}

func TestSCPSource(t *testing.T) {
	w := newWorld(t, true)
	w.push("foo", "1-1")
	w.push("foobar", "1-1")
	data, file := alpmtest.Package("foo", "1-1")
	ok := strings.Repeat("\x00", 9)
	r := w.must(w.do(ok, "scp", "-f", "/serene/x86_64/"+file))
	if r.out != scpFile(file, data) {
		t.Errorf("sent %q", r.out)
	}
	r = w.must(w.do(ok, "scp", "-f", "--", "/serene/x86_64/foo*.zst"))
	if strings.Count(r.out, "C0644 ") != 2 {
		t.Errorf("sent %q", r.out)
	}
	for _, path := range []string{"/serene/x86_64/nosuch*", "/serene/x86_64/nosuch", "/etc/passwd", "/serene", "/", "/a/b/c/d/e"} {
		if r := w.do(ok, "scp", "-f", path); r.code != exitNotFound || !strings.HasPrefix(r.out, "\x01scp: "+path+": ") || r.err != "" {
			t.Errorf("%s: exit code %d, said %q: %s", path, r.code, r.out, r.err)
		}
	}
	if r := w.as("--allow list", ok, "scp", "-f", "/serene/x86_64/"+file); r.code != exitDenied {
		t.Errorf("seen, but not to be pulled: exit code %d, said %q", r.code, r.out)
	}
}

func TestSCPWords(t *testing.T) {
	w := newWorld(t, false)
	for _, argv := range [][]string{{"scp"}, {"scp", "-t"}, {"scp", "x", "y"}, {"scp", "-o", "-t", "/"}, {"scp", "-t", "/", "/"}} {
		if r := w.do("", argv...); r.code != exitUsage {
			t.Errorf("%q: exit code %d: %s", argv, r.code, r.err)
		}
	}
}

func TestRsyncIsToldWhatToUse(t *testing.T) {
	w := newWorld(t, false)
	w.want(w.do("", "rsync", "--server", "-vlogDtpre.iLsfxCIvu", ".", "/serene/"), exitUsage,
		"rsync: not spoken here; use: scp FILE… HOST:/serene/")
	w.want(w.do("", "rsync", "--server", "--sender", "-e.iLsfxCIvu", ".", "/serene/x86_64/foo"), exitUsage,
		"rsync: not spoken here; use: scp HOST:/serene/x86_64/foo .")
}

// fuzzReceiver has one package to lose and a caller who may do everything.
func fuzzReceiver(f *testing.F) (*Receiver, Caller) {
	w := newWorld(f, false)
	w.Receiver.PublishWait = 1
	by := Caller{Key: "SHA256:abc", Rights: AllRights()}
	return w.Receiver, by
}

func FuzzSCP(f *testing.F) {
	data, file := alpmtest.Package("foo", "1-1")
	f.Add([]byte(scpFile(file, data)))
	f.Add([]byte("T1 0 1 0\nC0644 4 " + file + "\njunk\x01failed\n"))
	f.Add([]byte("\x00\x00\x00\x01no\n"))
	r, by := fuzzReceiver(f)
	f.Fuzz(func(t *testing.T, stdin []byte) {
		for _, mode := range []string{"-t", "-f"} {
			code := r.Run(context.Background(), by, []string{"scp", mode, "/serene"}, Streams{bytes.NewReader(stdin), io.Discard, io.Discard})
			if code < 0 || code > exitUsage {
				t.Errorf("exit code %d", code)
			}
		}
	})
}

// packet is one of the SFTP protocol: a length, a type, an id and fields, each
// a string or a number of 32 or 64 bits.
func packet(kind byte, fields ...any) []byte {
	body := []byte{kind}
	for _, field := range fields {
		switch v := field.(type) {
		case int:
			body = append(body, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
		case int64:
			for shift := 56; shift >= 0; shift -= 8 {
				body = append(body, byte(v>>shift))
			}
		case string:
			n := len(v)
			body = append(append(body, byte(n>>24), byte(n>>16), byte(n>>8), byte(n)), v...)
		}
	}
	n := len(body)
	return append([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, body...)
}

func FuzzSFTP(f *testing.F) {
	data, file := alpmtest.Package("foo", "1-1")
	const open, closed, read, write, lstat, fstat, setstat, opendir, readdir, remove, rename, symlink, extended = 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 18, 20, 200
	begin := packet(1, 3)
	for _, packets := range [][][]byte{
		{packet(open, 1, "/"+file, 0x1a, 0), packet(write, 2, "1", int64(0), string(data)), packet(closed, 3, "1")},
		{packet(open, 1, "/serene/x86_64/serene.db", 1, 0), packet(read, 2, "1", int64(0), 4096), packet(fstat, 3, "1"), packet(closed, 4, "1")},
		{packet(opendir, 1, "/serene"), packet(readdir, 2, "1"), packet(readdir, 3, "1"), packet(closed, 4, "1")},
		{packet(lstat, 1, "/serene"), packet(setstat, 2, "/serene", 4, 0o777), packet(remove, 3, "/"+file), packet(rename, 4, "/a", "/b"), packet(symlink, 5, "/a", "/b")},
		{packet(extended, 1, "statvfs@openssh.com", "/"), packet(extended, 2, "posix-rename@openssh.com", "/a", "/b")},
		{packet(open, 1, "/"+file, 0x1b, 0), packet(read, 2, "1", int64(-1), -1), packet(write, 3, "1", int64(-1), "x")},
	} {
		f.Add(append(bytes.Clone(begin), bytes.Join(packets, nil)...))
	}
	r, by := fuzzReceiver(f)
	f.Fuzz(func(t *testing.T, stdin []byte) {
		code := r.RunSFTP(context.Background(), by, Streams{bytes.NewReader(stdin), io.Discard, io.Discard})
		if code < 0 || code > exitUsage {
			t.Errorf("exit code %d", code)
		}
	})
}
