package repo

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func mkfifo(t *testing.T, path string) {
	t.Helper()
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
}

// announced lists the fingerprints clients are shown.
func (r *testRepo) announced() []string {
	r.t.Helper()
	armored, _, err := r.store.PublicKey()
	if err != nil {
		r.t.Fatal(err)
	}
	all, err := Fingerprints(armored)
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// signers checks that every signature in dir is by the key called want.
func (r *testRepo) wantSigner(file, want string) {
	r.t.Helper()
	sig, err := os.ReadFile(r.store.path("repos/serene", file+".sig"))
	if err != nil {
		r.t.Fatal(err)
	}
	p, err := parseSignature(sig)
	if err != nil {
		r.t.Fatal(err)
	}
	if got := strings.ToUpper(keyID(*p.IssuerKeyId)); !strings.HasSuffix(want, got) {
		r.t.Errorf("%s is signed by %s, want %s", file, got, want)
	}
}

func (r *testRepo) wantSound() {
	r.t.Helper()
	if problems, err := r.store.Doctor(r.t.Context()); len(problems) > 0 || err != nil {
		r.t.Errorf("doctor: %v, %v", problems, err)
	}
}

const (
	fooFile = "pool/foo-1-1-x86_64.pkg.tar.zst"
	dbFile  = "x86_64/current/serene.db"
)

// A key is replaced in steps between which every client can follow.
func TestRotateKey(t *testing.T) {
	r := newTestRepo(t)
	r.push(build("foo", "1-1"))
	old := r.signer.Fingerprint()
	o := r.ask(TxOptions{}, func(tx *Tx) { tx.Announce() })
	next := o.Resigned.Next
	if got := r.announced(); o.Resigned.Key != old || len(got) != 2 || got[0] != old || got[1] != next {
		t.Fatalf("announced %v, outcome %+v", got, o.Resigned)
	}
	if again := r.ask(TxOptions{}, func(tx *Tx) { tx.Announce() }); again.Resigned.Next != next {
		t.Error("announced yet another")
	}
	r.open() // the next key is remembered
	r.wantSigner(dbFile, old)
	before, _ := r.store.View("serene", "x86_64")
	o = r.ask(TxOptions{}, func(tx *Tx) { tx.Resign(false) })
	if o.Error != "" || o.Resigned.Key != next || o.Resigned.Next != "" || o.Resigned.Databases != 4 || o.Resigned.Packages != 0 {
		t.Fatalf("outcome %+v %+v", o, o.Resigned)
	}
	r.wantSigner(dbFile, next)
	r.wantSigner(fooFile, old)
	after, _ := r.store.View("serene", "x86_64")
	if after.Gen <= before.Gen || !after.Time.After(before.Time) {
		t.Error("clients would not fetch the new signature")
	}
	if got := r.announced(); len(got) != 2 || got[0] != next || got[1] != old {
		t.Errorf("announced %v", got)
	}
	r.wantSound()
	o = r.ask(TxOptions{}, func(tx *Tx) { tx.Resign(true) })
	if o.Resigned.Packages != 1 {
		t.Errorf("signed %+v", o.Resigned)
	}
	r.wantSigner(fooFile, next)
	r.open()
	r.want("serene", "x86_64", "foo 1-1")
	r.wantSound()
	if err := os.RemoveAll(r.store.retiredDir()); err != nil {
		t.Fatal(err)
	}
	r.open()
	if got := r.announced(); len(got) != 1 || got[0] != next {
		t.Errorf("a key that was taken away is announced: %v", got)
	}
	r.wantSound()
}

// A key exchanged by hand: the databases are signed again at start, and not made
// again from the pool; what the old key signed is good for what follows.
func TestKeyReplacedByHand(t *testing.T) {
	r := newTestRepo(t)
	r.push(build("foo", "1-1"))
	r.push(build("foo", "1-2"))
	old := r.signer.Fingerprint()
	if err := os.Rename(r.store.path("repos/serene/pool"), r.store.path("pool-away")); err != nil {
		t.Fatal(err) // a rebuild would find nothing
	}
	if err := os.Remove(filepath.Join(r.dir, "keys", "signing.asc")); err != nil {
		t.Fatal(err)
	}
	r.open()
	r.want("serene", "x86_64", "foo 1-2")
	r.wantSigner(dbFile, r.signer.Fingerprint())
	if got := r.announced(); len(got) != 2 || got[1] != old {
		t.Errorf("announced %v", got)
	}
	if err := os.Remove(r.store.path("repos/serene/pool")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(r.store.path("pool-away"), r.store.path("repos/serene/pool")); err != nil {
		t.Fatal(err)
	}
	r.wantSound()
	if err := os.Mkdir(r.store.path("keys/uploaders"), 0o700); err != nil {
		t.Fatal(err)
	}
	o := r.ask(TxOptions{}, func(tx *Tx) { tx.RollbackPackage("foo", "1-1") })
	if o.Error != "" || len(o.Receipts[0].Warnings) != 0 {
		t.Errorf("rollback to what the old key signed: %+v", o)
	}
	r.wantSigner(fooFile, r.signer.Fingerprint())
	r.open()
	r.wantSound()
}
func keyID(id uint64) string { return fmt.Sprintf("%016X", id) }
