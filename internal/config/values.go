package config

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// valueError is what every value type returns for text it does not take. Load
// puts the file, line and key in front of it.
type valueError struct {
	value   string
	accepts string
}

func (e *valueError) Error() string { return fmt.Sprintf("%q: accepts %s", e.value, e.accepts) }

// Strings returns a list of words as the standard library's type.
func Strings[T ~string](words []T) []string {
	var all []string
	for _, w := range words {
		all = append(all, string(w))
	}
	return all
}

// Path is a file or directory. In the file a relative one is taken from the
// directory the file is in; after Load every Path that is set is absolute.
type Path string

// UnmarshalText refuses what no system call would take.
func (p *Path) UnmarshalText(b []byte) error {
	if strings.ContainsRune(string(b), 0) {
		return &valueError{string(b), "a path without NUL"}
	}
	*p = Path(b)
	return nil
}

// Duration is a length of time above zero.
type Duration time.Duration

// UnmarshalText takes what time.ParseDuration takes, if it is above zero.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil || v <= 0 {
		return &valueError{string(b), `a duration above zero such as "150ms", "2s", "1h30m" or "720h"`}
	}
	*d = Duration(v)
	return nil
}

// Std is d as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

func (d Duration) String() string { return time.Duration(d).String() }

// Size is a number of bytes.
type Size int64

// The units a Size may carry; the longest suffixes come first, as "B" ends
// them all.
var sizeUnits = []struct {
	suffix string
	bytes  int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"B", 1}, {"", 1},
}

// ParseSize reads a whole number of bytes with an optional unit: "500MiB",
// "4 GiB", "2GB", "1048576".
func ParseSize(s string) (Size, error) {
	bad := &valueError{s, `a size such as "500MiB", "4GiB", "2GB" or a number of bytes`}
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSuffix(digits, " "), 10, 63)
		if err != nil || int64(n) > (1<<63-1)/u.bytes {
			return 0, bad
		}
		return Size(int64(n) * u.bytes), nil
	}
	return 0, bad
}

// UnmarshalText is ParseSize.
func (s *Size) UnmarshalText(b []byte) (err error) {
	*s, err = ParseSize(string(b))
	return err
}

// String writes s in the largest binary unit that divides it.
func (s Size) String() string {
	for _, u := range []struct {
		suffix string
		bytes  Size
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if s != 0 && s%u.bytes == 0 {
			return strconv.FormatInt(int64(s/u.bytes), 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// Count is a whole number from 1 up.
type Count int

// UnmarshalText takes decimal digits.
func (c *Count) UnmarshalText(b []byte) error {
	n, err := strconv.ParseInt(string(b), 10, 32)
	if err != nil || n < 1 {
		return &valueError{string(b), "a whole number from 1 up"}
	}
	*c = Count(n)
	return nil
}

// Startups is a limit on connections that have proved nothing yet, as
// MaxStartups in sshd_config(5): "start:rate:full".
type Startups struct{ Start, Rate, Full int }

// UnmarshalText takes three numbers between colons.
func (s *Startups) UnmarshalText(b []byte) error {
	n, err := fmt.Sscanf(string(b), "%d:%d:%d", &s.Start, &s.Rate, &s.Full)
	if err != nil || n != 3 || s.String() != string(b) ||
		s.Start < 1 || s.Rate < 1 || s.Rate > 100 || s.Full < s.Start {
		return &valueError{string(b), `"START:RATE:FULL" as in sshd_config(5), such as "50:30:200"`}
	}
	return nil
}

func (s Startups) String() string { return fmt.Sprintf("%d:%d:%d", s.Start, s.Rate, s.Full) }

// CPUs is a number of processors; fractions are shares of one.
type CPUs float64

// UnmarshalText takes a decimal number from 0.01 up, the least Docker takes.
func (c *CPUs) UnmarshalText(b []byte) error {
	n, err := strconv.ParseFloat(string(b), 64)
	if err != nil || !(n >= 0.01 && n <= 4096) {
		return &valueError{string(b), "a number of processors such as 0.5 or 2.0"}
	}
	*c = CPUs(n)
	return nil
}

// Addr is where to listen: "host:port", ":port" for every address, or empty
// where the key allows it to be off. A host without a port is never guessed at.
type Addr string

// UnmarshalText checks the form only; whether the address exists is known when
// it is bound.
func (a *Addr) UnmarshalText(b []byte) error {
	s := string(b)
	if s == "" {
		*a = ""
		return nil
	}
	_, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return &valueError{s, `an address such as ":8443", "127.0.0.1:8443" or "[::1]:8443"`}
	}
	*a = Addr(s)
	return nil
}

func (a Addr) String() string { return string(a) }

// port is the port of a, "" where a is empty.
func (a Addr) port() string {
	_, port, _ := net.SplitHostPort(string(a))
	return port
}

// URL is an absolute URL without a slash at its end, or empty. Which schemes a
// key takes is said where the keys are compared.
type URL string

// UnmarshalText checks that the text is a URL that says where.
func (u *URL) UnmarshalText(b []byte) error {
	s := strings.TrimRight(string(b), "/")
	p, err := url.Parse(s)
	if len(b) > 0 && (err != nil || p.Scheme == "" || p.Host == "" && p.Path == "" || p.RawQuery != "" || p.Fragment != "") {
		return &valueError{string(b), `a URL such as "https://repo.example.org" or "ssh://builder@host:2222"`}
	}
	*u = URL(s)
	return nil
}

func (u URL) String() string { return string(u) }

// scheme is the part before the colon.
func (u URL) scheme() string {
	scheme, _, _ := strings.Cut(string(u), ":")
	return strings.ToLower(scheme)
}

// NATSURLs is one NATS server or several, separated by commas; or empty.
type NATSURLs string

var natsSchemes = []string{"nats", "tls", "ws", "wss"}

// UnmarshalText checks each part.
func (n *NATSURLs) UnmarshalText(b []byte) error {
	*n = NATSURLs(b)
	if len(b) == 0 {
		return nil
	}
	for part := range strings.SplitSeq(string(b), ",") {
		p, err := url.Parse(strings.TrimSpace(part))
		if err != nil || p.Host == "" || !slices.Contains(natsSchemes, p.Scheme) {
			return &valueError{string(b), `NATS servers such as "nats://host:4222" or "tls://a:4222,tls://b:4222", or "" for the embedded one`}
		}
	}
	return nil
}
