package main

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"strings"

	"golang.org/x/crypto/ssh"
)

// pinned refuses every host key but the one with this fingerprint, which is of one of the kinds that
// Cloud Foundry hands out: told apart by their lengths.
func pinned(wanted string) ssh.HostKeyCallback {
	return func(_ string, _ net.Addr, key ssh.PublicKey) error {
		for _, got := range fingerprints(key) {
			if len(got) == len(wanted) {
				if got == wanted {
					return nil
				}
				return fmt.Errorf("Host key verification failed. The received key has %q", got)
			}
		}
		return fmt.Errorf("Unable to verify identity of host. %q is no fingerprint", wanted)
	}
}

// fingerprints are MD5 and SHA-1 in hex with colons, SHA-256 in hex and in base64 without padding.
func fingerprints(key ssh.PublicKey) []string {
	blob := key.Marshal()
	md5sum, sha1sum, sha256sum := md5.Sum(blob), sha1.Sum(blob), sha256.Sum256(blob)
	return []string{
		colons(md5sum[:]),
		colons(sha1sum[:]),
		hex.EncodeToString(sha256sum[:]),
		base64.RawStdEncoding.EncodeToString(sha256sum[:]),
	}
}

func colons(sum []byte) string {
	pairs := make([]string, len(sum))
	for at, value := range sum {
		pairs[at] = fmt.Sprintf("%02x", value)
	}
	return strings.Join(pairs, ":")
}
