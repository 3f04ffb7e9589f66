package build

import (
	"bytes"
	"crypto"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// signer signs as a repository does.
type signer struct{ *openpgp.Entity }

// No salt: gpg repeats its random bytes in the status that makepkg reads with the
// shell, which now and then loses the line after them.
var (
	noSalt    = false
	pgpConfig = &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, DefaultHash: crypto.SHA256, NonDeterministicSignaturesViaNotation: &noSalt}
)

func newSigner(t *testing.T) signer {
	t.Helper()
	e, err := openpgp.NewEntity("Tests", "", "tests@example.org", pgpConfig)
	if err != nil {
		t.Fatal(err)
	}
	return signer{e}
}

func (s signer) public(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serialize(w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sign returns a detached signature of data.
func (s signer) sign(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := openpgp.DetachSign(&b, s.Entity, bytes.NewReader(data), pgpConfig); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// localRepo makes a signed repository of the packages in dir, with repo-add.
func localRepo(t *testing.T, dir, name string, s signer) {
	t.Helper()
	packages, err := filepath.Glob(filepath.Join(dir, "*.pkg.tar.zst"))
	if err != nil || len(packages) == 0 {
		t.Fatal(packages, err)
	}
	cmd := exec.Command("repo-add", append([]string{filepath.Join(dir, name+".db.tar.gz")}, packages...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("repo-add: %v\n%s", err, out)
	}
	for _, file := range append(packages, filepath.Join(dir, name+".db")) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file+".sig", s.sign(t, data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// dep builds the package bar and makes the repository "own" of it.
func dep(t *testing.T, b *bench, s signer) (dir string) { return depIn(t, b, s, "own", "bar") }

func depIn(t *testing.T, b *bench, s signer, repo, name string) (dir string) {
	t.Helper()
	r := recipe(t, "pkgname="+name)
	r.Base, r.Packages, r.Job = name, []string{name}, r.Job+"-"+name
	if _, _, err := b.run(t, r); err != nil {
		t.Fatal(err)
	}
	localRepo(t, r.Out, repo, s)
	return r.Out
}

// What the own repository has is installed when it is signed, and the network
// is there until the build begins.
func TestDependencies(t *testing.T) {
	t.Parallel()
	b, s := newBench(t), newSigner(t)
	r := recipe(t, `
depends=(bar)
source=(f)
sha256sums=(SKIP)
validpgpkeys=(`+strings.Repeat("AB", 20)+`)
echo "interfaces:" $(ls /sys/class/net)
[[ $(ps ax) = *left-behind* ]] && echo "somebody is still here" || (exec -a left-behind sleep 999 &)
build() { ls /usr/share/bar; }
`, "f", "x")
	r.Depends, r.ValidPGPKeys, r.Keyserver = []string{"bar>=1.0"}, []string{strings.Repeat("AB", 20)}, "hkp://127.0.0.1:9"
	r.LocalRepo, r.RepoName, r.RepoKey = dep(t, b, s), "own", s.public(t)
	_, log, err := b.run(t, r)
	if err != nil {
		t.Fatal(err)
	}
	sources := strings.Index(log, "==> [sources]")
	if online := strings.Index(log, "interfaces: eth0 lo\n"); sources < 0 || online < sources {
		t.Error("no network for the sources")
	}
	if offline := strings.Index(log, "interfaces: lo\n"); offline < strings.Index(log, "==> [build]") {
		t.Error("the network is there for the build")
	}
	if strings.Contains(log, "somebody is still here") {
		t.Error("a process outlived the sources")
	}
}

func TestDependencyNotSigned(t *testing.T) {
	t.Parallel()
	b, s := newBench(t), newSigner(t)
	r := recipe(t, "depends=(bar)")
	r.Network, r.Depends = NetworkNone, []string{"bar"}
	r.LocalRepo, r.RepoName, r.RepoKey = dep(t, b, s), "own", s.public(t)
	packages, err := filepath.Glob(filepath.Join(r.LocalRepo, "bar-*.sig"))
	if err != nil || len(packages) != 1 {
		t.Fatal(packages, err)
	}
	if err := os.WriteFile(packages[0], newSigner(t).sign(t, []byte("x")), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.run(t, r); CauseOf(err) != CauseDependency {
		t.Errorf("error = %v", err)
	}
}

// A source's signature is checked with the keys that the tree brings.
func TestSourceSignatures(t *testing.T) {
	t.Parallel()
	good, bad := newSigner(t), newSigner(t)
	for _, c := range []struct {
		name string
		by   signer
		want Cause
	}{{"good", good, ""}, {"bad", bad, CausePGP}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			key := fmt.Sprintf("%X", good.PrimaryKey.Fingerprint)
			r := recipe(t, `
source=(f f.sig)
sha256sums=(SKIP SKIP)
validpgpkeys=(`+key+`)
`, "f", "x", "f.sig", string(c.by.sign(t, []byte("x"))), "keys/pgp/"+key+".asc", string(good.public(t)))
			r.Network, r.ValidPGPKeys = NetworkNone, []string{key}
			if _, _, err := b.run(t, r); CauseOf(err) != c.want {
				t.Errorf("error = %v, want %q", err, c.want)
			}
		})
	}
}
