package sshd

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// Options are the options of one authorized_keys line that change anything
// here. restrict and the forwarding family are accepted and mean nothing:
// nothing they could allow is offered.
type Options struct {
	CertAuthority bool      // the key signs certificates, and may not log in itself
	Principals    []string  // one of these must be among the certificate's; nil: the user name
	From          string    // as written; "" anywhere
	Expiry        time.Time // not usable from then on; zero: never
	Command       string    // forced command, where HasCommand
	HasCommand    bool

	from fromList
}

// flags are the options without a value; names are compared without case.
// Those that sshd also knows with "no-" in front say so.
var flags = []struct {
	name  string
	no    bool
	apply func(*Options)
}{
	{"restrict", false, nil},
	{"cert-authority", false, func(o *Options) { o.CertAuthority = true }},
	{"port-forwarding", true, nil},
	{"agent-forwarding", true, nil},
	{"x11-forwarding", true, nil},
	{"pty", true, nil},
	{"user-rc", true, nil},
}

// parseOptions reads the options field of a line. Every option it does not
// know is an error, also those sshd knows: environment=, permitopen= and the
// like promise what is not kept here.
func parseOptions(s string) (Options, error) {
	var o Options
	for {
		name, after := cutName(s)
		var err error
		if value, ok := strings.CutPrefix(after, "="); ok {
			after, err = o.assign(name, value)
		} else {
			err = o.flag(name)
		}
		if err != nil {
			return o, err
		}
		if after == "" {
			break
		}
		if after[0] != ',' {
			return o, fmt.Errorf("option %s: followed by %.20q", name, after)
		}
		s = after[1:]
	}
	if o.Principals != nil && !o.CertAuthority {
		return o, errors.New("option principals: without cert-authority")
	}
	return o, nil
}

// cutName cuts the name off the option at the start of s.
func cutName(s string) (name, after string) {
	i := strings.IndexAny(s, `,="`)
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i:]
}

func (o *Options) flag(name string) error {
	lower := strings.ToLower(name)
	for _, f := range flags {
		if lower == f.name || f.no && lower == "no-"+f.name {
			if f.apply != nil {
				f.apply(o)
			}
			return nil
		}
	}
	return fmt.Errorf("unknown option %.40q", name)
}

// assign takes the quoted value at the start of s, and returns what follows.
func (o *Options) assign(name, s string) (after string, err error) {
	value, after, err := dequote(s)
	if err != nil {
		return "", fmt.Errorf("option %.40s: %w", name, err)
	}
	switch strings.ToLower(name) {
	case "command":
		err = o.setCommand(value)
	case "from":
		err = o.setFrom(value)
	case "principals":
		err = o.setPrincipals(value)
	case "expiry-time":
		err = o.setExpiry(value)
	default:
		return "", fmt.Errorf("unknown option %.40q", name)
	}
	if err != nil {
		return "", fmt.Errorf("option %s: %w", name, err)
	}
	return after, nil
}

// dequote reads a value in double quotes, in which \" stands for a quote and
// any other backslash for itself.
func dequote(s string) (value, after string, err error) {
	if !strings.HasPrefix(s, `"`) {
		return "", "", errors.New("no quote before the value")
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] == '"' {
			return b.String(), s[i+1:], nil
		}
		if s[i] == '\\' && strings.HasPrefix(s[i+1:], `"`) {
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", errors.New("no quote after the value")
}

var errTwice = errors.New("given twice")

func (o *Options) setCommand(value string) error {
	if o.HasCommand {
		return errTwice
	}
	o.Command, o.HasCommand = value, true
	return nil
}

func (o *Options) setFrom(value string) (err error) {
	if o.from != nil {
		return errTwice
	}
	o.From = value
	o.from, err = parseFrom(value)
	return err
}

func (o *Options) setPrincipals(value string) error {
	if o.Principals != nil {
		return errTwice
	}
	o.Principals = strings.Split(value, ",")
	for _, p := range o.Principals {
		if p == "" {
			return errors.New("empty name")
		}
	}
	return nil
}

// setExpiry keeps the earliest of several times, as sshd does.
func (o *Options) setExpiry(value string) error {
	t, err := parseExpiry(value)
	if err != nil {
		return err
	}
	if o.Expiry.IsZero() || t.Before(o.Expiry) {
		o.Expiry = t
	}
	return nil
}

// parseExpiry reads YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS, in local time
// or, with Z or UTC behind, in UTC. Days such as February 30, which sshd
// takes for March 2, are errors.
func parseExpiry(s string) (time.Time, error) {
	zone := time.Local
	digits := strings.ToUpper(s)
	if cut, ok := strings.CutSuffix(digits, "Z"); ok {
		digits, zone = cut, time.UTC
	} else if cut, ok := strings.CutSuffix(digits, "UTC"); ok {
		digits, zone = cut, time.UTC
	}
	const layout = "20060102150405"
	switch len(digits) {
	case 8, 12, 14:
		t, err := time.ParseInLocation(layout[:len(digits)], digits, zone)
		if err == nil && t.Unix() > 0 {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%.40q is not YYYYMMDD[Z] or YYYYMMDDHHMM[SS][Z]", s)
}

// permit returns why the line does not hold for a client at remote, or nil.
func (o *Options) permit(remote net.Addr, now time.Time) error {
	if !o.Expiry.IsZero() && !now.Before(o.Expiry) {
		return fmt.Errorf("expired on %s", o.Expiry.Format(time.RFC3339))
	}
	if o.from != nil && !o.from.match(ipOf(remote)) {
		return fmt.Errorf("not from %s", remote)
	}
	return nil
}
