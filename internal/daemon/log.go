package daemon

import (
	"io"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"

	"serene/internal/config"
)

// newLogger writes to w in the given format; LogAuto is text for a terminal and
// JSON otherwise.
func newLogger(w io.Writer, format config.LogFormat) *slog.Logger {
	options := &slog.HandlerOptions{}
	if os.Getenv("SERENE_DEBUG") != "" {
		options.Level = slog.LevelDebug
	}
	if format == config.LogText || format == config.LogAuto && isTerminal(w) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
