package alpm

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
)

// Types of an [MTreeEntry].
const (
	MTreeFile byte = 'f' // regular file, hard links included
	MTreeDir  byte = 'd'
	MTreeLink byte = 'l' // symbolic link
)

// MTreeEntry is what .MTREE promises of one member.
type MTreeEntry struct {
	Path   string // raw bytes, without the leading "./"
	Link   string // target of a symbolic link, raw bytes
	SHA256 [32]byte
	Size   int64
	Time   int64  // Unix seconds
	Mode   uint32 // permission bits, set-id and sticky bits included
	UID    uint32
	GID    uint32
	Type   byte // MTreeFile, MTreeDir or MTreeLink

	has uint8 // which properties are set
}

const (
	hasType uint8 = 1 << iota
	hasMode
	hasUID
	hasGID
	hasSize
	hasSHA256
	hasLink
)

// ReadMTree reads a gzip-compressed .MTREE, which is consumed to its end unless
// there is an error; most bounds its decompressed bytes. Entries come complete:
// every one has type, mode and owner, files have size and digest, links a
// target. Keywords that makepkg does not write are refused, for some of them
// change what others mean. The error, a *Fault or one of r, ends the sequence.
func ReadMTree(r io.Reader, most int64) iter.Seq2[MTreeEntry, error] {
	return func(yield func(MTreeEntry, error) bool) {
		var m mtreeReader
		for line, err := range mtreeLines(r, most) {
			if err != nil {
				yield(MTreeEntry{}, err)
				return
			}
			m.number++
			e, ok, err := m.line(line)
			if err != nil {
				err = faultf(KindMTreeSyntax, ".MTREE", ".MTREE line %d: %v", m.number, err)
			}
			if (ok || err != nil) && !yield(e, err) || err != nil {
				return
			}
		}
		if m.number == 0 {
			yield(MTreeEntry{}, faultf(KindMTreeSyntax, ".MTREE", ".MTREE is empty"))
		}
	}
}

// mtreeLines decompresses and splits.
func mtreeLines(r io.Reader, most int64) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		z, err := gzip.NewReader(bufio.NewReader(r))
		if err != nil {
			yield("", mtreeBroken(err))
			return
		}
		limited := &io.LimitedReader{R: z, N: most + 1}
		lines := bufio.NewReaderSize(limited, maxLine)
		for number := 1; ; number++ {
			line, err := lines.ReadSlice('\n')
			switch {
			case limited.N == 0:
				err = faultf(KindMTreeSize, ".MTREE", ".MTREE decompresses to more than %d bytes", most)
			case err == io.EOF && len(line) == 0:
				return
			case err == io.EOF:
				err = faultf(KindMTreeSyntax, ".MTREE", ".MTREE line %d: has no end", number)
			case err == bufio.ErrBufferFull:
				err = faultf(KindMTreeSyntax, ".MTREE", ".MTREE line %d: %s", number, tooLong)
			case err != nil:
				err = mtreeBroken(err)
			}
			if !yield(string(bytes.TrimSuffix(line, []byte("\n"))), err) || err != nil {
				return
			}
		}
	}
}

// mtreeBroken tells faults of the gzip layer from errors of what is below it.
func mtreeBroken(err error) error {
	var what string
	switch {
	case errors.Is(err, gzip.ErrHeader):
		what = "is not compressed by gzip, or goes on behind that"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		what = "ends in the middle of its gzip stream"
	case errors.Is(err, gzip.ErrChecksum), isCorruptFlate(err):
		what = "is damaged: its gzip stream does not decompress to what was compressed"
	default:
		return err
	}
	return faultf(KindMTreeSyntax, ".MTREE", ".MTREE %s", what)
}

// mtreeReader holds what "/set" has set for the lines that follow.
type mtreeReader struct {
	number   int
	defaults MTreeEntry
}

// line reads one line; ok says that it was an entry.
func (m *mtreeReader) line(line string) (e MTreeEntry, ok bool, err error) {
	if m.number == 1 && line != "#mtree" {
		return e, false, errors.New("does not begin with #mtree")
	}
	if line == "" || line[0] == '#' {
		return e, false, nil
	}
	words := strings.Split(line, " ")
	switch first := words[0]; {
	case first == "/set":
		return e, false, m.defaults.setAll(words[1:])
	case first == "/unset":
		return e, false, m.defaults.unsetAll(words[1:])
	case strings.HasPrefix(first, "./"):
		e = m.defaults
		if e.Path, err = unescapeMTree(first[2:]); err == nil {
			err = e.setAll(words[1:])
		}
		if err == nil {
			err = e.complete()
		}
		return e, true, err
	}
	return e, false, errors.New("is neither /set, /unset nor a path beginning with ./: " + show(line))
}

func (e *MTreeEntry) setAll(words []string) error {
	for _, word := range words {
		key, value, ok := strings.Cut(word, "=")
		if !ok {
			return fmt.Errorf("%s is not keyword=value", show(word))
		}
		if err := e.set(key, value); err != nil {
			return fmt.Errorf("%s: %w", show(key), err)
		}
	}
	return nil
}

func (e *MTreeEntry) unsetAll(keys []string) error {
	for _, key := range keys {
		bit, ok := mtreeBits[key]
		if !ok {
			return fmt.Errorf("cannot unset %s", show(key))
		}
		e.has &^= bit
	}
	return nil
}

var mtreeBits = map[string]uint8{"type": hasType, "mode": hasMode, "uid": hasUID, "gid": hasGID}

var mtreeTypes = map[string]byte{"file": MTreeFile, "dir": MTreeDir, "link": MTreeLink}

func (e *MTreeEntry) set(key, value string) (err error) {
	switch key {
	case "type":
		e.has |= hasType
		if e.Type = mtreeTypes[value]; e.Type == 0 {
			return fmt.Errorf("%s: want file, dir or link", show(value))
		}
	case "mode":
		e.has |= hasMode
		e.Mode, err = parseUint32(value, 8, 12)
	case "uid":
		e.has |= hasUID
		e.UID, err = parseUint32(value, 10, 31)
	case "gid":
		e.has |= hasGID
		e.GID, err = parseUint32(value, 10, 31)
	case "size":
		e.has |= hasSize
		e.Size, err = parseNumber(value)
	case "time":
		seconds, _, _ := strings.Cut(value, ".")
		if e.Time, err = strconv.ParseInt(seconds, 10, 64); err != nil {
			return fmt.Errorf("%s is not a time", show(value))
		}
	case "link":
		e.has |= hasLink
		e.Link, err = unescapeMTree(value)
	case "sha256digest", "sha256":
		e.has |= hasSHA256
		err = parseDigest(e.SHA256[:], value)
	case "md5digest", "md5":
		// Format 1 has it next to the SHA-256, which alone is compared.
		err = parseDigest(make([]byte, 16), value)
	default:
		return errors.New("unknown keyword")
	}
	return err
}

// complete checks that the entry says all that its type needs, and drops what
// "/set" said for other types.
func (e *MTreeEntry) complete() error {
	need := hasType | hasMode | hasUID | hasGID
	switch e.Type {
	case MTreeFile:
		need |= hasSize | hasSHA256
	case MTreeLink:
		need |= hasLink
	}
	if e.has&need != need {
		return fmt.Errorf("%s lacks a keyword: want type, mode, uid, gid, and of a file size and sha256digest, of a link link", show(e.Path))
	}
	if e.Type != MTreeFile {
		e.Size, e.SHA256 = 0, [32]byte{}
	}
	if e.Type != MTreeLink {
		e.Link = ""
	}
	e.has = 0 // two entries that say the same are equal
	return nil
}

func parseUint32(s string, base, bits int) (uint32, error) {
	n, err := strconv.ParseUint(s, base, bits)
	if err != nil {
		return 0, fmt.Errorf("%s is not a number of %d bits", show(s), bits)
	}
	return uint32(n), nil
}

func parseDigest(to []byte, s string) error {
	if len(s) != 2*len(to) {
		return fmt.Errorf("%s is not a digest of %d bytes", show(s), len(to))
	}
	if _, err := hex.Decode(to, []byte(s)); err != nil {
		return fmt.Errorf("%s is not hex", show(s))
	}
	return nil
}

// unescapeMTree undoes the octal of mtree(5).
func unescapeMTree(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return strings.Clone(s), nil // lets go of the rest of the line
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b = append(b, s[i])
			continue
		}
		c, ok := octal(s[i+1:])
		if !ok {
			return "", errors.New("no such escape: " + show(s))
		}
		b = append(b, c)
		i += 3
	}
	return string(b), nil
}
