package repo

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"serene/internal/alpm"
)

// editRequest changes tx.json of a transaction that was submitted.
func (r *testRepo) editRequest(id string, edit func(*request)) {
	r.t.Helper()
	dir := r.store.path("inbox", id)
	req, err := readRequest(dir, id)
	if err != nil {
		r.t.Fatal(err)
	}
	edit(req)
	data, err := json.Marshal(req)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, requestFile), data, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// A digest that was handed over is believed only as far as it can be right, and
// one that cannot be used costs no more than reading the file.
func TestHandedOverDigest(t *testing.T) {
	const refused = "content: foo-1-1-x86_64.pkg.tar.zst: "
	for _, c := range []struct {
		name string
		do   func(r *testRepo, id, file string)
		want string // what the outcome begins with, "" where it is published
	}{
		{"as it was", func(*testRepo, string, string) {}, ""},
		{"none", func(r *testRepo, id, _ string) {
			r.editRequest(id, func(req *request) { req.Packages[0].Digest = nil })
		}, ""},
		{"garbage", func(r *testRepo, id, _ string) {
			r.editRequest(id, func(req *request) { req.Packages[0].Digest = []byte("sha\x03 and so on") })
		}, ""},
		{"of other bytes", func(r *testRepo, id, _ string) {
			r.editRequest(id, func(req *request) {
				other := newDigest()
				other.Write([]byte("other"))
				req.Packages[0].Digest, _ = other.(encoding.BinaryMarshaler).MarshalBinary()
			})
		}, refused + "sha256 is "},
		{"file cut off", func(r *testRepo, _, file string) { r.resize(file, -1) }, refused},
		{"file grown", func(r *testRepo, _, file string) { r.resize(file, 1) }, refused},
		{"file damaged while nobody ran", func(r *testRepo, _, file string) {
			r.flipByte(file)
			r.open()
		}, refused + "sha256 is "},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newTestRepo(t)
			id, err := r.submit(TxOptions{}, nil, build("foo", "1-1"))
			if err != nil {
				t.Fatal(err)
			}
			c.do(r, id, r.store.path("inbox", id, "foo-1-1-x86_64.pkg.tar.zst"))
			r.refresh()
			o := r.outcome(id)
			if c.want == "" {
				wantLines(t, o, "published serene/x86_64 foo 1-1 gen 2")
				r.wantSound() // with a signature of the file's bytes
				return
			}
			if got := o.Class + ": " + o.Error; !strings.HasPrefix(got, c.want) {
				t.Errorf("outcome %q, want %q …", got, c.want)
			}
			r.want("serene", "x86_64")
		})
	}
}

// What is staged is read again when it is published, maybe days later.
func TestStagedFileIsReadAgain(t *testing.T) {
	r := newTestRepo(t)
	p := build("foo", "1-1")
	staged := r.ask(TxOptions{}, func(tx *Tx) {
		if _, err := tx.Add(t.Context(), p.name, -1, bytes.NewReader(p.data)); err != nil {
			t.Fatal(err)
		}
		tx.Stage()
	})
	r.flipByte(filepath.Join(r.store.stageDir(staged.Stage), p.name))
	if o := r.ask(TxOptions{}, func(tx *Tx) { tx.Publish(staged.Stage) }); o.Class != "content" {
		t.Errorf("outcome %+v", o)
	}
	r.want("serene", "x86_64")
}

func (r *testRepo) resize(file string, by int64) {
	r.t.Helper()
	st, err := os.Stat(file)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := os.Truncate(file, st.Size()+by); err != nil {
		r.t.Fatal(err)
	}
}

func (r *testRepo) flipByte(file string) {
	r.t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		r.t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(file, data, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// A file is taken by what was read, whatever has its name by then.
func TestTakeFileIsTheFileThatWasRead(t *testing.T) {
	r := newTestRepo(t)
	p := build("foo", "1-1")
	path := filepath.Join(t.TempDir(), p.name)
	if err := os.WriteFile(path, p.data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pkg, err := r.store.ReadPackage(t.Context(), p.name, f)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(path), os.WriteFile(path, bytes.Repeat([]byte("x"), len(p.data)), 0o600)); err != nil {
		t.Fatal(err)
	}
	tx, err := r.store.Begin(Actor{}, TxOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Abort()
	if err := tx.TakeFile(pkg, f, func(*alpm.Package) error { return nil }); !errors.Is(err, ErrBusy) {
		t.Errorf("another file was taken: %v", err)
	}
	if left := tx.Packages(); len(left) > 0 {
		t.Errorf("the transaction has %d packages", len(left))
	}
	wantEmpty(t, tx.dir)
}
