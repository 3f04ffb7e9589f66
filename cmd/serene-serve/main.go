// Command serene-serve publishes what serene-receive admitted, and serves it to pacman
// over HTTPS. It is the only writer of published state and holds the key that
// signs it.
//
// As "serene-serve import DIR" it takes a folder of packages into a repository
// and ends.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"serene/internal/daemon"
	"serene/internal/serve"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "import" {
		ctx, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		os.Exit(serve.Import(ctx, os.Args[2:], os.Stdout, os.Stderr))
	}
	daemon.Main("serene-serve", serve.Run)
}
