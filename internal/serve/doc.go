// Package serve is the daemon that publishes: it notices what was submitted,
// has it written as the next generation, and serves generations and packages
// over HTTP to pacman.
//
//	watch     the inbox changed, or might have
//	debounce  when to look at it
//	refresh   one writer, one goroutine: refresh, retry, collect
//	adopt     directories other tools dropped, read beside it
//	import    the command for a whole folder at once
//	http      what is published, and nothing else
//	tls       the certificate, made, read or fetched
//	admin     health and figures, for the machine's own people
//
// It holds the signing key and gives it to the repository's writer; it never
// decides what may be published, which is repo's, and never writes below
// repos/ itself.
package serve
