//go:build tools

// What `scripts/kubernetes` builds of Kubernetes' own programs for tests, so that go.mod has their versions.
package main

import (
	_ "github.com/onsi/ginkgo/v2/ginkgo"
	_ "k8s.io/kubernetes/test/images/agnhost"
	_ "k8s.io/kubernetes/test/images/regression-issue-74839"
)
