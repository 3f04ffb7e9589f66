// Package sshd is an SSH server that runs commands and subsystems, and nothing
// else: no pty, no environment, no forwarding, no agent, no X11.
//
// It owns the door: listening, key exchange, which key may come in
// (authorized_keys as sshd(8) words it), the limits of sshd_config(5), one
// command per session channel, its exit status, and draining. It never starts
// a shell or any other process, never touches a file other than the host key
// and authorized_keys, and knows nothing of what the commands mean: a forced
// command is handed to the caller as text.
//
// The life of a connection:
//
//  1. MaxStartups decides whether an unauthenticated connection may wait, and
//     LoginGraceTime how long.
//  2. Each offered key is asked about; the key that counts is the one that
//     signed last. It is authorised again then, and again for every session.
//  3. Each session channel runs one Handler. Its return value is the exit
//     status. A panic is status 7, logged with its stack.
//  4. The handler's context ends when the client goes away, when its key is
//     taken out of authorized_keys, when a limit is reached, or when a
//     Shutdown runs out of patience.
package sshd
