package sshd

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	gossh "golang.org/x/crypto/ssh"
)

// Critical options that are honoured. All others refuse the certificate, also
// verify-required, which sshd knows: the library does not show that flag.
const (
	forceCommand  = "force-command"
	sourceAddress = "source-address"
)

// certify holds cert, by the authority of id's line, against the line's
// principals, and adds to id what the certificate says.
func (id *Identity) certify(cert *gossh.Certificate, user string, remote net.Addr, principals []string) error {
	if cert.CertType != gossh.UserCert {
		return errors.New("not a user certificate")
	}
	if err := checkStrength(cert.Key); err != nil {
		return err
	}
	if err := checkSignature(cert); err != nil {
		return err
	}
	principal, err := principalOf(cert, user, principals)
	if err != nil {
		return err
	}
	checker := gossh.CertChecker{SupportedCriticalOptions: []string{forceCommand, sourceAddress}}
	if err := checker.CheckCert(principal, cert); err != nil { // options, times, signature
		return err
	}
	if err := checkSource(cert, remote); err != nil {
		return err
	}
	return id.force(cert)
}

// checkSignature refuses what the library would let pass: an authority that
// signs with SHA-1, and a security key excused from being touched, for which
// sshd wants the line's consent as well.
func checkSignature(cert *gossh.Certificate) error {
	if !slices.Contains(defaultAlgorithms.PubkeyAcceptedAlgorithms, cert.Signature.Format) {
		return fmt.Errorf("certificate signed by %.40q", cert.Signature.Format)
	}
	if _, ok := cert.Extensions["no-touch-required"]; ok {
		return errors.New("certificate with no-touch-required")
	}
	return nil
}

// principalOf returns the principal by which cert holds: one of the line's,
// or else the user name. A certificate without principals, which OpenSSH
// before 10 takes for anyone's, holds for nobody.
func principalOf(cert *gossh.Certificate, user string, principals []string) (string, error) {
	if principals == nil {
		principals = []string{user}
	}
	for _, p := range principals {
		if p != "" && slices.Contains(cert.ValidPrincipals, p) {
			return p, nil
		}
	}
	// The certificate's own are not shown: nobody has vouched for them yet.
	return "", fmt.Errorf("certificate is for none of %.100q", principals)
}

func checkSource(cert *gossh.Certificate, remote net.Addr) error {
	list, ok := cert.CriticalOptions[sourceAddress]
	if !ok {
		return nil
	}
	ip, inside := ipOf(remote), false
	for text := range strings.SplitSeq(list, ",") {
		block, err := parseSource(text)
		if err != nil {
			return err
		}
		inside = inside || ip.IsValid() && block.Contains(ip)
	}
	if !inside {
		return fmt.Errorf("certificate not for %s", remote)
	}
	return nil
}

// parseSource reads an address or block; source-address knows no patterns.
func parseSource(text string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	return parseBlock(text)
}

// force takes over the certificate's forced command. Where the line has one,
// too, they must be the same, as in sshd.
func (id *Identity) force(cert *gossh.Certificate) error {
	command, ok := cert.CriticalOptions[forceCommand]
	if !ok {
		return nil
	}
	if id.HasCommand && id.Command != command {
		return errors.New("certificate and line force different commands")
	}
	id.Command, id.HasCommand = command, true
	return nil
}
