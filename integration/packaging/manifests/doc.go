// Manifests reads Kubernetes manifests, compose files and Dockerfiles as their
// own programs would, but strictly, and says what is wrong with them. Of what is
// right it prints the containers as JSON: what each of them is started with.
//
//	manifests kubernetes FILE...
//	manifests compose FILE...     the environment is interpolated
//	manifests dockerfile FILE...
//
// Faults go to standard error, one on a line, and make it exit with 1.
//
// It is a module of its own: the API types of Kubernetes and the loaders of
// compose and Docker need dependencies, and versions of shared ones, that the
// product must not ask of programs that import it. The tests of the package above build and run it.
package main
