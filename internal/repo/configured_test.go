package repo

import (
	"bytes"
	"strings"
	"testing"

	"serene/internal/config"
)

// The limits of the configuration are those of what is taken.
func TestConfiguredLimits(t *testing.T) {
	foo := build("foo", "1-1")
	for key, set := range map[string]func(*config.Config){
		"max_package = 100":   func(c *config.Config) { c.Receive.MaxPackage = 100 },
		"more than 6 members": func(c *config.Config) { c.Receive.MaxFiles = 6 },
		"min_free = ":         func(c *config.Config) { c.Receive.MinFree = 1 << 60 },
		"":                    func(*config.Config) {},
	} {
		c, err := config.Load("", t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		c.Receive.MinFree = 0
		set(c)
		s, err := OpenConfigured(c, nil)
		if err != nil {
			t.Fatal(err)
		}
		tx, err := s.Begin(Actor{}, TxOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = tx.Add(t.Context(), foo.name, -1, bytes.NewReader(foo.data))
		if key == "" && err != nil || key != "" && (err == nil || !strings.Contains(err.Error(), key)) {
			t.Errorf("want %q: %v", key, err)
		}
		if err := tx.Abort(); err != nil {
			t.Error(err)
		}
	}
}
