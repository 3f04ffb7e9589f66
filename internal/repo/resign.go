package repo

import (
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"

	"github.com/ProtonMail/go-crypto/openpgp"

	"serene/internal/alpm"
	"serene/internal/durable"
)

// resigning asks the writer for the next step of a key's replacement.
type resigning struct {
	Announce bool `json:"announce,omitempty"` // only make and show the next key
	Packages bool `json:"packages,omitempty"` // sign packages again, too
}

// Resigned says what was signed again, and with which key.
type Resigned struct {
	Key       string `json:"key"` // fingerprint
	Next      string `json:"next,omitempty"`
	Databases int    `json:"databases"`
	Packages  int    `json:"packages"`
}

// Announce asks for the key that is to follow the signing key to be made, and
// shown to clients.
func (t *Tx) Announce() { t.req.Resign = &resigning{Announce: true} }

// Resign asks for every database to be signed again, and with packages every
// package that is signed by a key of ours; with the announced key, if there is
// one, which becomes the signing key.
func (t *Tx) Resign(packages bool) { t.req.Resign = &resigning{Packages: packages} }

func (w *Writer) resign(req *request) (*Resigned, error) {
	done := new(Resigned)
	var err error
	if req.Resign.Announce {
		err = w.announce()
	} else if err = w.rotate(); err == nil {
		err = w.signAll(req, done)
	}
	if done.Key = w.signer.Fingerprint(); w.signer.next != nil {
		done.Next = w.signer.next.Fingerprint()
	}
	return done, err
}

func (w *Writer) signAll(req *request, done *Resigned) error {
	for _, spec := range w.store.specs {
		if req.Resign.Packages {
			n, err := w.signPool(spec.Name)
			if done.Packages += n; err != nil {
				return err
			}
		}
		fresh := make(map[place]*generation)
		for _, arch := range spec.Arches {
			p := place{spec.Name, arch}
			fresh[p] = &generation{db: w.current[p].db}
		}
		if err := w.commitAside(spec.Name, fresh, &Record{Tx: req.ID, Actor: req.By}); err != nil {
			return err
		}
		done.Databases += 2 * len(fresh)
	}
	return nil
}

// signPool signs the packages of repo's pool again whose signature is ours and
// not by the present key, published or not: earlier generations name them.
func (w *Writer) signPool(repo string) (int, error) {
	var files []string
	err := eachFile(w.store.pool(repo), func(info fs.FileInfo) {
		if _, err := alpm.ParseFileName(info.Name()); err == nil {
			files = append(files, info.Name())
		}
	})
	if err != nil {
		return 0, err
	}
	var signed atomic.Int64
	err = parallel(files, runtime.GOMAXPROCS(0), func(file string) error {
		did, err := w.signPackage(filepath.Join(w.store.pool(repo), file))
		if did {
			signed.Add(1)
		}
		return err
	})
	return int(signed.Load()), err
}

func (w *Writer) signPackage(file string) (bool, error) {
	_, _, digest, err := digestFile(file)
	if err != nil {
		return false, err
	}
	sig, err := os.ReadFile(file + ".sig")
	if err != nil || w.verifyOwn(sig, digest) != errRetiredKey {
		return false, nil // an uploader's, or doctor's business
	}
	if sig, err = w.signer.sign(digest); err != nil {
		return false, err
	}
	return true, durable.WriteFile(file+".sig", sig, 0o660)
}

// verifyOwn checks that sig is by the signing key, over the bytes digest has
// taken in. It is errRetiredKey when it is by one from before.
func (w *Writer) verifyOwn(sig []byte, digest hash.Cloner) error {
	err := w.signer.verify(sig, digest)
	if err != nil && signedByAny(w.retired, sig, digest) {
		return errRetiredKey
	}
	return err
}

func signedByAny(keys openpgp.EntityList, sig []byte, digest hash.Cloner) bool {
	p, err := parseSignature(sig)
	if err != nil || p.IssuerKeyId == nil {
		return false
	}
	for _, key := range keys.KeysById(*p.IssuerKeyId) {
		if key.PublicKey.VerifySignature(clone(digest), p) == nil {
			return true
		}
	}
	return false
}
