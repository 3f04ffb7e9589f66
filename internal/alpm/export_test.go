package alpm

import (
	"bytes"
	"io"
)

// NewXZReader is the xz decoder by itself.
func NewXZReader(b []byte) io.Reader { return newXZReader(bytes.NewReader(b)) }
