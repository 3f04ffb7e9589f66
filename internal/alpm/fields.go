package alpm

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A field binds one key of a line format to the variable that holds it. Exactly
// one of text, number and list is set.
type field struct {
	key      string
	text     *string
	number   *int64
	list     *[]string
	check    func(string) error // of every value; nil allows any single line
	joins    bool               // may have the joiners that some scripts cannot do without
	required bool
	seen     bool // a value has been stored
}

// set checks one value and stores it.
func (f *field) set(value string) *lineError {
	err := f.checkValue(value)
	if err == nil {
		err = f.checkVisible(value)
	}
	if err != nil {
		return &lineError{KindValue, f.key + ": " + err.Error()}
	}
	return f.store(value)
}

// store stores one value unchecked, as far as its type allows. Only a list takes
// more than one.
func (f *field) store(value string) *lineError {
	if f.seen && f.list == nil {
		return &lineError{KindDuplicateKey, f.key + " stands twice"}
	}
	f.seen = true
	switch {
	case f.text != nil:
		*f.text = value
	case f.list != nil:
		*f.list = append(*f.list, value)
	default:
		n, err := parseNumber(value)
		if err != nil {
			return &lineError{KindValue, f.key + ": " + err.Error()}
		}
		*f.number = n
	}
	return nil
}

func (f *field) checkValue(value string) error {
	if value == "" && f.text != nil && !f.required {
		return nil
	}
	if collapse(value) == "" {
		if f.text != nil && !f.required {
			return nil
		}
		return errors.New("is empty")
	}
	if err := checkText(value); err != nil {
		return err
	}
	if f.check != nil {
		return f.check(value)
	}
	return nil
}

// checkVisible refuses what is not seen, or changes the order in which the rest
// is: people would read something else than what stands there. It is asked of
// packages only, since databases made elsewhere have such texts.
func (f *field) checkVisible(value string) error {
	for _, r := range value {
		if isInvisible(r) && !(f.joins && (r == zeroWidthNonJoiner || r == zeroWidthJoiner)) {
			return fmt.Errorf("has the invisible character %U", r)
		}
	}
	return nil
}

const (
	zeroWidthNonJoiner = '\u200c'
	zeroWidthJoiner    = '\u200d'
)

// isInvisible reports whether r formats or does nothing. The marks that Unicode
// calls format characters although they are seen, as Arabic's number sign, are
// none.
func isInvisible(r rune) bool {
	return unicode.In(r, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point) &&
		!unicode.Is(unicode.Prepended_Concatenation_Mark, r)
}

// lineError is a fault of one line whose member and number the caller knows.
type lineError struct{ kind, detail string }

var tooLong = fmt.Sprintf("is longer than %d KiB", maxLine>>10)

// parseFields reads "key = value" lines as .PKGINFO and .BUILDINFO have them.
// Nothing is skipped but comments: a line pacman would ignore is a line that
// says something else to the next reader. ignored names known keys without a field.
func parseFields(b []byte, member, kind string, fields []field, ignored ...string) error {
	number := 0
	for line := range strings.Lines(string(b)) {
		number++
		if err := parseLine(line, fields, ignored); err != nil {
			return faultf(kind+err.kind, member, "%s line %d: %s", member, number, err.detail)
		}
	}
	for _, f := range fields {
		if f.required && !f.seen {
			return faultf(kind+KindMissingKey, member, "%s has no %s", member, f.key)
		}
	}
	return nil
}

func parseLine(line string, fields []field, ignored []string) *lineError {
	line, ended := strings.CutSuffix(line, "\n")
	switch {
	case !ended:
		return &lineError{KindSyntax, "has no end"}
	case len(line) > maxLine:
		return &lineError{KindSyntax, tooLong}
	case strings.HasPrefix(line, "#"):
		return nil
	}
	key, value, ok := strings.Cut(line, " = ")
	if !ok {
		return &lineError{KindSyntax, "is not \"key = value\": " + show(line)}
	}
	if f := findField(fields, key); f != nil {
		return f.set(value)
	}
	if slices.Contains(ignored, key) {
		return nil
	}
	return &lineError{KindUnknownKey, "unknown key " + show(key)}
}

func findField(fields []field, key string) *field {
	for i := range fields {
		if fields[i].key == key {
			return &fields[i]
		}
	}
	return nil
}

// collapse makes every run of ASCII white space one space and trims both ends,
// as repo-add does.
func collapse(s string) string {
	if isCollapsed(s) {
		return s
	}
	return strings.Join(strings.FieldsFunc(s, isSpace), " ")
}

func isCollapsed(s string) bool {
	before := byte(' ')
	for i := range len(s) {
		if c := s[i]; c >= '\t' && c <= '\r' || c == ' ' && before == ' ' {
			return false
		}
		before = s[i]
	}
	return s == "" || before != ' '
}

func isSpace(r rune) bool { return r == ' ' || r >= '\t' && r <= '\r' }

// checkText refuses what could not stand as a line of a sync database, or would
// be read there as something else: a desc file has no escapes.
func checkText(s string) error {
	switch {
	case !utf8.ValidString(s):
		return errors.New("is not UTF-8")
	case strings.ContainsFunc(s, isHarmful):
		return fmt.Errorf("has control characters: %s", show(s))
	case looksLikeSection(collapse(s)):
		return fmt.Errorf("%s would be read as a database section", show(s))
	}
	return nil
}

// isHarmful spares the tab, which is white space and gets collapsed.
func isHarmful(r rune) bool {
	return unicode.IsControl(r) && r != '\t' || r == '\u2028' || r == '\u2029'
}

func looksLikeSection(s string) bool {
	return len(s) >= 2 && s[0] == '%' && s[len(s)-1] == '%'
}

// parseNumber takes a non-negative decimal of at most 63 bits.
func parseNumber(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || !isDigits(s) {
		return 0, fmt.Errorf("%s is not a number from 0 to 2^63-1", show(s))
	}
	return int64(n), nil
}

func checkVersion(s string) error { return Version(s).Check() }

// checkDep takes NAME, or NAME and one of < <= = >= > and a version. The colon
// is for sonames ("lib:libfoo.so.1").
func checkDep(s string) error {
	i := strings.IndexAny(s, "<>=")
	name, bound := s, ""
	if i >= 0 {
		name, bound = s[:i], s[i:]
	}
	if !madeOf(name, nameChars+":") || strings.IndexByte("-.:", name[0]) >= 0 {
		return fmt.Errorf("%s does not begin with a package name", show(s))
	}
	if bound == "" {
		return nil
	}
	version := strings.TrimPrefix(bound[1:], "=")
	if bound[0] == '=' {
		version = bound[1:]
	}
	if !madeOf(version, versionChars+":-") {
		return fmt.Errorf("%s does not end in a version", show(s))
	}
	return nil
}

func checkProvide(s string) error {
	if strings.ContainsAny(s, "<>") {
		return fmt.Errorf("%s: only = may name what version is provided", show(s))
	}
	return checkDep(s)
}

func checkOptDep(s string) error {
	dep, _, _ := strings.Cut(s, ": ")
	// "foo:" with nothing behind it is what trimming leaves of "foo: ".
	return checkDep(strings.TrimSuffix(collapse(dep), ":"))
}

func checkHex256(s string) error {
	if len(s) != 64 || !madeOf(s, "0123456789abcdef") {
		return fmt.Errorf("%s is not a SHA-256 in lower hex", show(s))
	}
	return nil
}

func checkBase64(s string) error {
	if _, err := base64.StdEncoding.Strict().DecodeString(s); err != nil {
		return errors.New("is not base64")
	}
	return nil
}
