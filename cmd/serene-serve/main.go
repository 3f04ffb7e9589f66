// Serene-serve publishes what serene-receive admitted, and serves it to pacman
// over HTTPS. It is the only writer of published state and holds the key that
// signs it.
package main

import (
	"serene/internal/daemon"
	"serene/internal/serve"
)

func main() { daemon.Main("serene-serve", serve.Run) }
