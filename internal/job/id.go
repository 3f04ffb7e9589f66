package job

import (
	"crypto/rand"
	"fmt"
	"regexp"
	"time"
)

// ID names a job: seven characters of time, which sort, and four of chance,
// in digits and letters that are not mistaken for others: "1nb4k7q-x7k2".
type ID string

// alphabet is Crockford's base 32.
const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"

const timeDigits, saltDigits = 7, 4

var validID = regexp.MustCompile(`^[0-9a-hjkmnp-tv-z]{7}-[0-9a-hjkmnp-tv-z]{4}$`)

// NewID returns an id for a job made at now.
func NewID(now time.Time) ID {
	var id [timeDigits + 1 + saltDigits]byte
	seconds := now.Unix()
	for i := timeDigits - 1; i >= 0; i-- {
		id[i] = alphabet[seconds&31]
		seconds >>= 5
	}
	id[timeDigits] = '-'
	var salt [saltDigits]byte
	rand.Read(salt[:])
	for i, b := range salt {
		id[timeDigits+1+i] = alphabet[b&31]
	}
	return ID(id[:])
}

// ParseID takes what String of an ID has written.
func ParseID(s string) (ID, error) {
	if !validID.MatchString(s) {
		return "", fmt.Errorf("%q is no job id", s)
	}
	return ID(s), nil
}

func (id ID) String() string { return string(id) }
