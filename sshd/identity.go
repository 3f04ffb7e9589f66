package sshd

import (
	"net"

	gossh "golang.org/x/crypto/ssh"
)

// Authorizer says which keys may come in. The server asks it when a key is
// offered, again when the key has signed, and again when a session begins.
// Its methods may be called from many goroutines.
type Authorizer interface {
	// Authorize returns who the holder of key is when it comes as user from
	// remote. An error refuses the key, and its text is for the log only. It
	// wraps [ErrUnknownKey] where no line names the key.
	Authorize(user string, remote net.Addr, key gossh.PublicKey) (*Identity, error)

	// Version returns a number that differs whenever an earlier answer of
	// Authorize may no longer hold. The server looks every second and asks
	// again for each open connection; those now refused are closed.
	Version() uint64
}

// Identity is an authorised key and what its line says about it. It is
// immutable once returned.
type Identity struct {
	Key         gossh.PublicKey // the key that signed; of a certificate, the key it certifies
	Fingerprint string          // of Key, "SHA256:…"
	Comment     string          // what follows the key on its line; may be empty
	Line        int             // line in the authorized_keys file, from 1
	Command     string          // forced command; meaningful where HasCommand
	HasCommand  bool            // false: the key may run what it likes
	KeyID       string          // identity the certificate carries; "" for a plain key
	Authority   string          // fingerprint of the certificate's authority; "" for a plain key
}

// sameRights reports whether a session begun as i may go on as j.
func (i *Identity) sameRights(j *Identity) bool {
	return i.Command == j.Command && i.HasCommand == j.HasCommand
}

// Fingerprint returns key's SHA-256 fingerprint as OpenSSH prints it:
// "SHA256:" and unpadded base64. Of a certificate it is the fingerprint of
// the key it certifies.
func Fingerprint(key gossh.PublicKey) string {
	if cert, ok := key.(*gossh.Certificate); ok {
		key = cert.Key
	}
	return gossh.FingerprintSHA256(key)
}
