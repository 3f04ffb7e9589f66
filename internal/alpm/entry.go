package alpm

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Entry is the desc of one package in a sync database. The JSON keys are the
// section names, lower case.
type Entry struct {
	FileName     string   `json:"filename"`
	Name         string   `json:"name"`
	Base         string   `json:"base,omitempty"`
	Version      Version  `json:"version"`
	Desc         string   `json:"desc,omitempty"`
	Groups       []string `json:"groups,omitempty"`
	CSize        int64    `json:"csize"` // bytes of the package file
	ISize        int64    `json:"isize"` // bytes of the installed files
	SHA256       string   `json:"sha256"`
	PGPSig       string   `json:"pgpsig,omitempty"` // base64 of the binary signature; only pacman 5 needs it
	URL          string   `json:"url,omitempty"`
	Licenses     []string `json:"license,omitempty"`
	Arch         string   `json:"arch"`
	BuildDate    int64    `json:"builddate"` // Unix seconds
	Packager     string   `json:"packager"`
	Replaces     []string `json:"replaces,omitempty"`
	Conflicts    []string `json:"conflicts,omitempty"`
	Provides     []string `json:"provides,omitempty"`
	Depends      []string `json:"depends,omitempty"`
	OptDepends   []string `json:"optdepends,omitempty"`
	MakeDepends  []string `json:"makedepends,omitempty"`
	CheckDepends []string `json:"checkdepends,omitempty"`
}

// sections lists all fields in the order in which repo-add writes them.
func (e *Entry) sections() []field {
	return []field{
		{key: "FILENAME", text: &e.FileName, required: true},
		{key: "NAME", text: &e.Name, check: ValidName, required: true},
		{key: "BASE", text: &e.Base, check: ValidName},
		{key: "VERSION", text: (*string)(&e.Version), check: checkVersion, required: true},
		{key: "DESC", text: &e.Desc},
		{key: "GROUPS", list: &e.Groups},
		{key: "CSIZE", number: &e.CSize, required: true},
		{key: "ISIZE", number: &e.ISize, required: true},
		{key: "SHA256SUM", text: &e.SHA256, check: checkHex256, required: true},
		{key: "PGPSIG", text: &e.PGPSig, check: checkBase64},
		{key: "URL", text: &e.URL},
		{key: "LICENSE", list: &e.Licenses},
		{key: "ARCH", text: &e.Arch, check: validArch, required: true},
		{key: "BUILDDATE", number: &e.BuildDate, required: true},
		{key: "PACKAGER", text: &e.Packager, required: true},
		{key: "REPLACES", list: &e.Replaces, check: checkDep},
		{key: "CONFLICTS", list: &e.Conflicts, check: checkDep},
		{key: "PROVIDES", list: &e.Provides, check: checkProvide},
		{key: "DEPENDS", list: &e.Depends, check: checkDep},
		{key: "OPTDEPENDS", list: &e.OptDepends, check: checkOptDep},
		{key: "MAKEDEPENDS", list: &e.MakeDepends, check: checkDep},
		{key: "CHECKDEPENDS", list: &e.CheckDepends, check: checkDep},
	}
}

// Dir is the entry's directory in a database: NAME-VERSION.
func (e *Entry) Dir() string { return e.Name + "-" + string(e.Version) }

// Check reports whether the entry can be written so that every reader gets back
// the same entry: values are single lines by their grammars, and the file name
// is the one that name, version and architecture make. The error is a *Fault.
func (e *Entry) Check() error { return e.check(e.sections()) }

func (e *Entry) check(sections []field) error {
	for i := range sections {
		f := &sections[i]
		if err := f.checkStored(); err != nil {
			return faultf(KindDesc+KindValue, "desc", "desc: %s: %v", f.key, err)
		}
	}
	file, err := ParseFileName(e.FileName)
	if err != nil {
		return err
	}
	if file.Name != e.Name || file.Version != e.Version || file.Arch != e.Arch {
		return faultf(KindDesc+KindValue, "desc", "desc: FILENAME %s is not of %s-%s-%s", e.FileName, e.Name, e.Version, e.Arch)
	}
	return nil
}

// checkStored checks what the field's variable holds.
func (f *field) checkStored() error {
	switch {
	case f.number != nil:
		if *f.number < 0 {
			return errors.New("is negative")
		}
		return nil
	case f.text != nil:
		return f.checkCollapsed(*f.text)
	}
	for _, value := range *f.list {
		if err := f.checkCollapsed(value); err != nil {
			return err
		}
	}
	return nil
}

func (f *field) checkCollapsed(value string) error {
	if !isCollapsed(value) {
		return fmt.Errorf("%s has white space to collapse", show(value))
	}
	return f.checkValue(value)
}

// AppendDesc appends the entry's desc file to b. It writes what it is given; ask
// [Entry.Check] first where that is foreign.
func (e *Entry) AppendDesc(b []byte) []byte {
	sections := e.sections()
	for i := range sections {
		b = sections[i].appendSection(b)
	}
	return b
}

// appendSection writes "%KEY%", the values a line each, and a blank line, or
// nothing for an empty field.
func (f *field) appendSection(b []byte) []byte {
	switch {
	case f.number != nil:
		b = appendKey(b, f.key)
		b = strconv.AppendInt(b, *f.number, 10)
		return append(b, "\n\n"...)
	case f.text != nil && *f.text != "":
		b = appendKey(b, f.key)
		b = append(b, *f.text...)
		return append(b, "\n\n"...)
	case f.list != nil && len(*f.list) > 0:
		b = appendKey(b, f.key)
		for _, value := range *f.list {
			b = append(b, value...)
			b = append(b, '\n')
		}
		return append(b, '\n')
	}
	return b
}

func appendKey(b []byte, key string) []byte {
	b = append(b, '%')
	b = append(b, key...)
	return append(b, "%\n"...)
}

// ParseDesc reads a desc file and checks the entry. Sections may come in any
// order; %MD5SUM%, which repo-add wrote before 6.1, is dropped; an unknown
// section is a fault. The error is a *Fault.
func ParseDesc(b []byte) (*Entry, error) {
	e := new(Entry)
	fields := e.sections()
	var md5 string
	fields = append(fields, field{key: "MD5SUM", text: &md5})
	rest := string(b)
	for rest != "" {
		section, after, ended := strings.Cut(rest, "\n\n")
		if !ended {
			return nil, faultf(KindDesc+KindSyntax, "desc", "desc: the last section has no end")
		}
		rest = after
		if err := parseSection(section, fields); err != nil {
			return nil, faultf(KindDesc+err.kind, "desc", "desc: %s", err.detail)
		}
	}
	for _, f := range fields {
		if f.required && !f.seen {
			return nil, faultf(KindDesc+KindMissingKey, "desc", "desc has no %%%s%%", f.key)
		}
	}
	if err := e.check(fields); err != nil {
		return nil, err
	}
	return e, nil
}

// parseSection stores the values of one section, unchecked but for what would
// not survive being stored.
func parseSection(section string, fields []field) *lineError {
	header, values, ok := strings.Cut(section, "\n")
	key := strings.Trim(header, "%")
	if !ok || header != "%"+key+"%" {
		return &lineError{KindSyntax, "not a section: " + show(header)}
	}
	f := findField(fields, key)
	switch {
	case f == nil:
		return &lineError{KindUnknownKey, "unknown section " + show(key)}
	case f.seen:
		return &lineError{KindDuplicateKey, key + " stands twice"}
	}
	for value := range strings.SplitSeq(values, "\n") {
		if len(value) > maxLine {
			return &lineError{KindSyntax, key + ": a line " + tooLong}
		}
		if value == "" {
			return &lineError{KindValue, key + ": is empty"}
		}
		if err := f.store(value); err != nil {
			return err
		}
	}
	return nil
}
