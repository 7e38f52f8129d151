//go:build tools

// Package conformance pins network-policy-api’s conformance suite, which scripts/e2e builds.
package conformance

import _ "sigs.k8s.io/network-policy-api/conformance"
