// Package packaging checks what people install: the image, make install, the
// units and manifests of docs/examples, and what docs/install.md and
// docs/operations.md say.
//
// A checker here is a function from files to their faults; the tests run each
// of them on the repository, and on files that break it. Settings are checked
// with the flags that etcd-dv registers, so that a renamed one is found in the
// examples.
//
// make package-test also builds the image from the Dockerfile and runs clusters
// in it, as docs/examples say, in network namespaces of its own. It needs root,
// buildah, podman and crun, no registry and no other service.
package packaging
