package sshd

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"
)

// row is an authorized_keys file, and whether it admits a key that comes from
// 127.0.0.1. In the file KEY, OTHER and CA stand for public keys, and ME for
// the user's name.
type row struct {
	file string
	want bool
	// stricter says why sshd admits the key and this package does not.
	stricter string
	// cert, where not nil, has CA certify the key; it may change what for.
	cert func(*gossh.Certificate)
}

var plainRows = []row{
	{file: "KEY", want: true},
	{file: "KEY a comment with \"quotes", want: true},
	{file: "  \t KEY", want: true},
	{file: "KEY\r", want: true},
	{file: "# KEY", want: false},
	{file: "  # KEY", want: false},
	{file: "", want: false},
	{file: "OTHER", want: false},
	{file: "OTHER\nKEY", want: true},
	{file: "nonsense\n\n\x01\x02\nKEY", want: true},
	{file: "ssh-ed25519 AAAA\nKEY", want: true},
	{file: "ssh-rsa KEYBLOB", want: false},
	{file: "ssh-ed25519", want: false},
	{file: "ssh-ed25519\tKEYBLOB\ttabs", want: true},
	{file: "ED25519 KEYBLOB", want: false},
	{file: "KEY\x00", want: false, stricter: "NUL is not text"},
	{file: "command=\"x\"\x00 KEY", want: false},
	{file: "KEY\nKEY", want: true},
	{file: "restrict KEYBLOB", want: false},

	{file: "restrict KEY", want: true},
	{file: "RESTRICT KEY", want: true},
	{file: "no-pty,no-port-forwarding,no-agent-forwarding,no-X11-forwarding,no-user-rc KEY", want: true},
	{file: "restrict,pty,port-forwarding,agent-forwarding,X11-forwarding,user-rc KEY", want: true},
	{file: "restrict,restrict KEY", want: true},
	{file: "restrict, KEY", want: false, stricter: "an empty option is a mistake"},
	{file: ",restrict KEY", want: false, stricter: "an empty option is a mistake"},
	{file: "restrict,,no-pty KEY", want: false, stricter: "an empty option is a mistake"},
	{file: "restrict ,no-pty KEY", want: false},
	{file: "no-restrict KEY", want: false},
	{file: "restricted KEY", want: false},
	{file: "restrict=\"yes\" KEY", want: false},
	{file: "frobnicate KEY", want: false},
	{file: "frobnicate=\"x\" KEY", want: false},
	{file: "from KEY", want: false},
	{file: "environment=\"A=b\" KEY", want: false, stricter: "promises an environment that is not given"},
	{file: "permitopen=\"host:22\" KEY", want: false, stricter: "only what design says is understood"},
	{file: "permitlisten=\"22\" KEY", want: false, stricter: "likewise"},
	{file: "tunnel=\"0\" KEY", want: false, stricter: "likewise"},
	{file: "no-touch-required KEY", want: false, stricter: "relaxes what is kept here"},
	{file: "frobnicate KEY\nKEY", want: false, stricter: "the faulty line may have been meant to restrict the key"},
	{file: "KEY\nfrobnicate KEY", want: true},

	{file: `command="x" KEY`, want: true},
	{file: `COMMAND="x" KEY`, want: true},
	{file: `command="say \"hi, there\"" KEY`, want: true},
	{file: `command="a b,c",restrict KEY`, want: true},
	{file: `command="back\\" KEY`, want: false},
	{file: `command="back\x" KEY`, want: true},
	{file: `command="" KEY`, want: true},
	{file: `command=x KEY`, want: false},
	{file: `command='x' KEY`, want: false},
	{file: `command="x KEY`, want: false},
	{file: `command="x"restrict KEY`, want: false},
	{file: `command= KEY`, want: false},
	{file: `command="x",command="y" KEY`, want: false},
	{file: `command="x",command="x" KEY`, want: false},
	{file: "command=\"x\"\tKEY", want: true},

	{file: `from="127.0.0.1" KEY`, want: true},
	{file: `from="127.0.0.2" KEY`, want: false},
	{file: `from="127.0.0.0/8" KEY`, want: true},
	{file: `from="127.0.0.1/32" KEY`, want: true},
	{file: `from="127.0.0.1/8" KEY`, want: false},
	{file: `from="127.0.0.0/33" KEY`, want: false},
	{file: `from="10.0.0.0/8,127.0.0.1/8" KEY`, want: false},
	{file: `from="0.0.0.0/0" KEY`, want: true},
	{file: `from="::/0" KEY`, want: false},
	{file: `from="::1" KEY`, want: false},
	{file: `from="::ffff:127.0.0.1" KEY`, want: false},
	{file: `from="*" KEY`, want: true},
	{file: `from="127.*" KEY`, want: true},
	{file: `from="127.0.0.?" KEY`, want: true},
	{file: `from="127.0.0.1?" KEY`, want: false},
	{file: `from="1*7.*.1" KEY`, want: true},
	{file: `from="localhost" KEY`, want: false},
	{file: `from="*.example.org" KEY`, want: false},
	{file: `from="10.0.0.1,127.0.0.1" KEY`, want: true},
	{file: `from="10.0.0.1 127.0.0.1" KEY`, want: false},
	{file: `from="10.0.0.1, 127.0.0.1" KEY`, want: false},
	{file: `from="!127.0.0.1" KEY`, want: false},
	{file: `from="!127.0.0.1,*" KEY`, want: false},
	{file: `from="*,!127.0.0.1" KEY`, want: false},
	{file: `from="*,!127.0.0.0/8" KEY`, want: false},
	{file: `from="*,!127.*" KEY`, want: false},
	{file: `from="!10.0.0.0/8,*" KEY`, want: true},
	{file: `from="!10.0.0.0/8" KEY`, want: false},
	{file: `from="!*" KEY`, want: false},
	{file: `from="" KEY`, want: false},
	{file: `from="," KEY`, want: false},
	{file: `from="127.0.0.1," KEY`, want: false},
	{file: `from="!" KEY`, want: false},
	{file: `from="127.1" KEY`, want: false, stricter: "forms of inet_aton are mistakes more often than meant"},
	{file: `from="127/8" KEY`, want: false},
	{file: `from="*,!127.1" KEY`, want: false},
	{file: `from="*,!0x7f.1" KEY`, want: false},
	{file: `from="127.0.0.1",from="127.0.0.1" KEY`, want: false},
	{file: `from="10.0.0.1" KEY` + "\nKEY", want: true},
	{file: `from="127.0.0.1/8" KEY` + "\nKEY", want: false, stricter: "a faulty line ends the search"},

	{file: `expiry-time="20991231" KEY`, want: true},
	{file: `expiry-time="20991231Z" KEY`, want: true},
	{file: `expiry-time="209912312359" KEY`, want: true},
	{file: `expiry-time="209912312359Z" KEY`, want: true},
	{file: `expiry-time="20991231235959" KEY`, want: true},
	{file: `expiry-time="20991231235959Z" KEY`, want: true},
	{file: `expiry-time="20991231235959z" KEY`, want: true},
	{file: `expiry-time="20200101" KEY`, want: false},
	{file: `expiry-time="20200101Z" KEY`, want: false},
	{file: `expiry-time="202001012359" KEY`, want: false},
	{file: `expiry-time="20200101235959Z" KEY`, want: false},
	{file: `expiry-time="20991231",expiry-time="20200101" KEY`, want: false},
	{file: `expiry-time="20200101",expiry-time="20991231" KEY`, want: false},
	{file: `expiry-time="20200101" KEY` + "\nKEY", want: true},
	{file: `expiry-time="20991301" KEY`, want: false},
	{file: `expiry-time="20990001" KEY`, want: false},
	{file: `expiry-time="20990230" KEY`, want: false, stricter: "there is no February 30"},
	{file: `expiry-time="2099123123" KEY`, want: false},
	{file: `expiry-time="2099-12-31" KEY`, want: false},
	{file: `expiry-time="209912312460" KEY`, want: false},
	{file: `expiry-time="+52w" KEY`, want: false},
	{file: `expiry-time="" KEY`, want: false},
	{file: `expiry-time="Z" KEY`, want: false},

	{file: "cert-authority KEY", want: false},
	{file: "cert-authority KEY\nKEY", want: true},
	{file: `principals="ME" KEY`, want: false},
}

func none(*gossh.Certificate) {}

var certificateRows = []row{
	{file: "cert-authority CA", want: true, cert: none},
	{file: "CA", want: false, cert: none},
	{file: "KEY", want: false, cert: none},
	{file: "cert-authority OTHER", want: false, cert: none},
	{file: "cert-authority KEY", want: false, cert: none},
	{file: "CA\ncert-authority CA", want: true, cert: none},
	{file: "cert-authority,restrict CA", want: true, cert: none},
	{file: "no-cert-authority CA", want: false, cert: none},
	{file: "frobnicate,cert-authority CA", want: false, cert: none},
	{file: `cert-authority,from="127.0.0.0/8" CA`, want: true, cert: none},
	{file: `cert-authority,from="10.0.0.0/8" CA`, want: false, cert: none},
	{file: `cert-authority,expiry-time="20200101" CA`, want: false, cert: none},

	{file: `cert-authority,principals="ME" CA`, want: true, cert: none},
	{file: `cert-authority,principals="ci,ME" CA`, want: true, cert: none},
	{file: `cert-authority,principals="ci" CA`, want: false, cert: none},
	{file: `cert-authority,principals="" CA`, want: false, cert: none},
	{file: `cert-authority,principals="M*" CA`, want: false, cert: none},
	{file: `cert-authority,principals="ME",principals="ME" CA`, want: false, cert: none},
	{file: `cert-authority,principals="ci" CA`, want: true, cert: func(c *gossh.Certificate) { c.ValidPrincipals = []string{"ci"} }},
	{file: "cert-authority CA", want: false, cert: func(c *gossh.Certificate) { c.ValidPrincipals = []string{"ci"} }},
	{file: "cert-authority CA", want: false, cert: func(c *gossh.Certificate) { c.ValidPrincipals = nil },
		stricter: "a certificate for nobody is not one for everybody; OpenSSH 10 agrees"},
	{file: `cert-authority,principals="ME" CA`, want: false, cert: func(c *gossh.Certificate) { c.ValidPrincipals = nil }},

	{file: "cert-authority CA", want: false, cert: func(c *gossh.Certificate) { c.CertType = gossh.HostCert }},
	{file: "cert-authority CA", want: false, cert: func(c *gossh.Certificate) { c.ValidBefore = uint64(time.Now().Unix() - 60) }},
	{file: "cert-authority CA", want: false, cert: func(c *gossh.Certificate) { c.ValidAfter = uint64(time.Now().Unix() + 3600) }},
	{file: "cert-authority CA", want: true, cert: func(c *gossh.Certificate) { c.ValidBefore = uint64(time.Now().Unix() + 3600) }},
	{file: "cert-authority CA", want: true, cert: option("force-command", "x")},
	{file: `cert-authority,command="x" CA`, want: true, cert: option("force-command", "x")},
	{file: `cert-authority,command="y" CA`, want: false, cert: option("force-command", "x")},
	{file: "cert-authority CA", want: true, cert: option("source-address", "127.0.0.0/8")},
	{file: "cert-authority CA", want: true, cert: option("source-address", "10.0.0.0/8,127.0.0.1")},
	{file: "cert-authority CA", want: false, cert: option("source-address", "10.0.0.0/8")},
	{file: "cert-authority CA", want: false, cert: option("source-address", "127.0.0.1/8")},
	{file: "cert-authority CA", want: false, cert: option("source-address", "127.*")},
	{file: "cert-authority CA", want: false, cert: option("source-address", "127.0.0.1,nonsense")},
	{file: "cert-authority CA", want: false, cert: option("source-address", "")},
	{file: "cert-authority CA", want: false, cert: option("verify-required", ""),
		stricter: "whether a key verified its user cannot be seen here"},
	{file: "cert-authority CA", want: false, cert: option("frobnicate", "")},
	{file: "cert-authority CA", want: true, cert: func(c *gossh.Certificate) { c.Extensions = map[string]string{"permit-pty": "", "x": "y"} }},
	{file: "cert-authority CA", want: false, cert: func(c *gossh.Certificate) { c.Extensions = map[string]string{"no-touch-required": ""} },
		stricter: "the line has not agreed to it"},
}

func option(name, value string) func(*gossh.Certificate) {
	return func(c *gossh.Certificate) { c.CriticalOptions = map[string]string{name: value} }
}

// cast are the keys that the rows talk of.
type cast struct {
	key, other, ca testKey
	me             string
}

func newCast(t testing.TB) cast {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return cast{newKey(t), newKey(t), newKey(t), me.Username}
}

func (c cast) text(r row) string {
	return strings.NewReplacer(
		"KEYBLOB", strings.Fields(c.key.public())[1], "KEY", c.key.public(),
		"OTHER", c.other.public(), "CA", c.ca.public(), "ME", c.me,
	).Replace(r.file) + "\n"
}

// signer returns what the client comes with: the key, or its certificate.
func (c cast) signer(t testing.TB, r row) gossh.Signer {
	t.Helper()
	if r.cert == nil {
		return c.key
	}
	cert := &gossh.Certificate{
		Key:             c.key.PublicKey(),
		CertType:        gossh.UserCert,
		KeyId:           "the id",
		ValidPrincipals: []string{"someone", c.me},
		ValidBefore:     gossh.CertTimeInfinity,
	}
	r.cert(cert)
	if err := cert.SignCert(rand.Reader, c.ca); err != nil {
		t.Fatal(err)
	}
	signer, err := gossh.NewCertSigner(cert, c.key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// TestAgainstOpenSSH holds each row against the real sshd.
func TestAgainstOpenSSH(t *testing.T) {
	c := newCast(t)
	peer := startOpenSSH(t)
	keys := filepath.Join(t.TempDir(), "authorized_keys")
	for _, r := range append(plainRows, certificateRows...) {
		name := r.file
		if r.cert != nil {
			cert := c.signer(t, r).PublicKey().(*gossh.Certificate)
			name += fmt.Sprintf(" | type %d principals %q options %q extensions %q",
				cert.CertType, cert.ValidPrincipals, cert.CriticalOptions, cert.Extensions)
		}
		writeFile(t, keys, c.text(r))
		writeFile(t, peer.keys, c.text(r))
		signer := c.signer(t, r)
		if ours := admits(keys, c.me, signer.PublicKey()); ours != r.want {
			t.Errorf("%q: admitted here: %v, want %v", name, ours, r.want)
		}
		if theirs := peer.admits(t, c.me, signer); theirs != (r.want || r.stricter != "") {
			t.Errorf("%q: admitted by sshd: %v, want %v (stricter here: %q)", name, theirs, !theirs, r.stricter)
		}
	}
}

func admits(keys, user string, key gossh.PublicKey) bool {
	_, err := OpenKeyFile(keys, nil, slog.New(slog.DiscardHandler)).Authorize(user, loopback, key)
	return err == nil
}

// openSSH is a real sshd. It is handed each connection as inetd would, so it
// needs no port of its own and is ready at once.
type openSSH struct {
	program, config, keys string
	listener              net.Listener
}

var missingDirectory = regexp.MustCompile(`Missing privilege separation directory: (\S+)`)

func startOpenSSH(t testing.TB, options ...string) *openSSH {
	t.Helper()
	program, err := exec.LookPath("sshd")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/sshd"); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	s := &openSSH{program: program, config: filepath.Join(dir, "config"), keys: filepath.Join(dir, "authorized_keys")}
	writeFile(t, s.config, strings.Join(append([]string{
		"HostKey " + newKey(t).file(t), "AuthorizedKeysFile " + s.keys,
		"StrictModes no", "UsePAM no", "PermitRootLogin yes", "PidFile none", "LogLevel DEBUG",
	}, options...), "\n")+"\n")
	out, err := exec.Command(program, "-t", "-f", s.config).CombinedOutput()
	if m := missingDirectory.FindSubmatch(out); m != nil { // its service would make it
		if err := os.MkdirAll(string(m[1]), 0o755); err != nil {
			t.Fatal(err)
		}
	} else if err != nil {
		t.Fatalf("sshd -t: %v: %s", err, out)
	}
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.listener.Close() })
	go s.serve()
	return s
}

func (s *openSSH) serve() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		socket, err := conn.(*net.TCPConn).File()
		if err != nil {
			conn.Close()
			continue
		}
		cmd := exec.Command(s.program, "-i", "-e", "-f", s.config)
		cmd.Stdin, cmd.Stdout = socket, socket
		if cmd.Start() == nil {
			go func() { _ = cmd.Wait() }() // how it ends is the client's to see
		}
		socket.Close()
		conn.Close()
	}
}

func (s *openSSH) admits(t testing.TB, user string, signer gossh.Signer) bool {
	t.Helper()
	client, err := gossh.Dial("tcp", s.listener.Addr().String(), &gossh.ClientConfig{
		User:            user,
		Auth:            []gossh.AuthMethod{gossh.PublicKeys(signer)},
		HostKeyCallback: gossh.InsecureIgnoreHostKey(),
	})
	if err != nil {
		if !strings.Contains(err.Error(), "unable to authenticate") {
			t.Fatalf("sshd: %v", err)
		}
		return false
	}
	client.Close()
	return true
}
