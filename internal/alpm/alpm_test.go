package alpm_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"serene/internal/alpm"
	"serene/internal/alpm/alpmtest"
)

// read builds a package and reads it.
func read(opts ...alpmtest.Option) (*alpm.Package, error) {
	data, name := alpmtest.Package("foo", "1:2.0-1", opts...)
	return alpm.ReadPackage(bytes.NewReader(data), name, alpm.DefaultLimits())
}

func mustRead(t testing.TB, opts ...alpmtest.Option) *alpm.Package {
	t.Helper()
	p, err := read(opts...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// wantFault fails unless err is a *Fault of this kind with a message of one
// printable line.
func wantFault(t testing.TB, err error, kind string) {
	t.Helper()
	fault, ok := errors.AsType[*alpm.Fault](err)
	if !ok {
		t.Fatalf("got %v, want a fault of kind %s", err, kind)
	}
	if fault.Kind != kind {
		t.Fatalf("got kind %s (%v), want %s", fault.Kind, fault, kind)
	}
	wantLine(t, fault)
}

func wantLine(t testing.TB, fault *alpm.Fault) {
	t.Helper()
	if s := fault.Error(); s == "" || len(s) > 1024 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		t.Fatalf("not a line for people: %q", s)
	}
}

// run runs a peer program and returns what it prints.
func run(t testing.TB, dir, stdin string, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", argv, err, out, stderr.Bytes())
	}
	return string(out)
}

// entry is a complete database entry.
func entry(name string) *alpm.Entry {
	return &alpm.Entry{
		FileName: name + "-1:2.0-1-any.pkg.tar.zst", Name: name, Base: name, Version: "1:2.0-1",
		Desc: "The package " + name, CSize: 1234, ISize: 5678, SHA256: strings.Repeat("0123456789abcdef", 4),
		URL: "https://example.org", Licenses: []string{"MIT"}, Arch: "any", BuildDate: alpmtest.BuildDate,
		Packager: "Some One <some.one@example.org>", Depends: []string{"glibc>=2.38", "libfoo.so=1-64"},
		OptDepends: []string{"bar: for barring"},
	}
}

// database is a zstd-compressed files database of n packages.
func database(t testing.TB, n int) []byte {
	t.Helper()
	var b []byte
	files := alpm.AppendFiles(nil, []string{"usr/", "usr/bin/", "usr/bin/foo"})
	for i := range n {
		b = alpm.AppendMembers(b, entry(fmt.Sprintf("package%05d", i)), files)
	}
	return compress(t, append(b, alpm.EndOfArchive()...))
}

func compress(t testing.TB, data []byte) []byte {
	t.Helper()
	return compressAs(t, data, ".pkg.tar.zst")
}

func compressAs(t testing.TB, data []byte, ext string) []byte {
	t.Helper()
	var buf bytes.Buffer
	z, err := alpmtest.Compressor(&buf, ext)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// wantAnyFault fails unless err is a *Fault with a kind and a line.
func wantAnyFault(t testing.TB, err error) {
	t.Helper()
	fault, ok := errors.AsType[*alpm.Fault](err)
	if !ok || fault.Kind == "" {
		t.Fatalf("not a fault: %v", err)
	}
	wantLine(t, fault)
}

func wantJSONRoundTrip[T any](t testing.TB, v *T) {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	back := new(T)
	if err := json.Unmarshal(b, back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(v, back) {
		t.Fatalf("JSON gives back\n%+v\nof\n%+v", back, v)
	}
}

func wantEntryRoundTrip(t testing.TB, e *alpm.Entry) {
	t.Helper()
	back, err := alpm.ParseDesc(e.AppendDesc(nil))
	if err != nil {
		t.Fatalf("ParseDesc of AppendDesc: %v", err)
	}
	if !reflect.DeepEqual(e, back) {
		t.Fatalf("desc gives back\n%+v\nof\n%+v", back, e)
	}
}

// fixChecksums repairs the checksum of everything that looks like a ustar header,
// so that a fuzzer's changes get past it.
func fixChecksums(b []byte) []byte {
	b = bytes.Clone(b)
	for i := 0; i+512 <= len(b); i += 512 {
		h := b[i : i+512]
		if string(h[257:262]) != "ustar" {
			continue
		}
		copy(h[148:], "        ")
		sum := 0
		for _, c := range h {
			sum += int(c)
		}
		copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	}
	return b
}
