package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/BurntSushi/toml"
)

// DefaultState is the state directory when nothing names one.
const DefaultState = "/var/lib/serene"

// Error is a key whose value is not accepted.
type Error struct {
	File   string // the file read, "" when there was none
	Line   int    // in File, 0 where not known
	Key    string // dotted, such as "serve.debounce"
	Reason string // the quoted value and what the key accepts
}

// Error names the file, the key, the value and what the key accepts.
func (e *Error) Error() string {
	return fmt.Sprintf("%s%s = %s", position(e.File, e.Line), e.Key, e.Reason)
}

// position is "FILE:LINE: ", as far as known.
func position(file string, line int) string {
	switch {
	case file == "":
		return ""
	case line == 0:
		return file + ": "
	default:
		return fmt.Sprintf("%s:%d: ", file, line)
	}
}

// Load reads the configuration in file and fills in the defaults. state, unless
// empty, takes the place of the file's own. Without a file, serene.toml in
// state is read if it is there; with neither, the defaults stand alone. A value
// that is not accepted is an *Error.
func Load(file, state string) (*Config, error) {
	data, file, err := read(file, state)
	if err != nil {
		return nil, err
	}
	c := defaults()
	if err := decode(file, data, c); err != nil {
		return nil, err
	}
	if err := c.complete(file, state); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		err.File = file
		return nil, err
	}
	return c, nil
}

// read returns the text of the configuration and the file it is from, "" when
// there is none.
func read(file, state string) ([]byte, string, error) {
	optional := file == ""
	if optional {
		if state == "" {
			return nil, "", nil
		}
		file = filepath.Join(state, "serene.toml")
	}
	data, err := os.ReadFile(file)
	if optional && errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("read config: %w", err)
	}
	return data, file, nil
}

// decode sets in c what data says.
func decode(file string, data []byte, c *Config) error {
	md, err := toml.Decode(string(data), c)
	if err != nil {
		return explain(file, err, len(md.Keys()) > 0)
	}
	// The decoder is content with "Listen" for "listen"; this file is not.
	unknown := md.Undecoded()
	for _, key := range md.Keys() {
		if key.String() != strings.ToLower(key.String()) {
			unknown = append(unknown, key)
		}
	}
	if len(unknown) > 0 {
		return fmt.Errorf("%sunknown key %q", position(file, 0), unknown[0].String())
	}
	return nil
}

// explain turns the decoder's error into one that begins with the file and
// line. When the text itself parsed, what was refused is the value of the last
// key, and the message is that of this package's type for it.
func explain(file string, err error, parsed bool) error {
	var at toml.ParseError
	switch {
	case !errors.As(err, &at):
		return fmt.Errorf("%s%s", position(file, 0), strings.TrimPrefix(err.Error(), "toml: "))
	case parsed:
		return &Error{file, at.Position.Line, at.LastKey, at.Message}
	default:
		return fmt.Errorf("%s%s", position(file, at.Position.Line), at.Message)
	}
}
