// Protogen makes the Go code of a protobuf file, in the folder where it is
// called: messages by protoc-gen-go, services by protoc-gen-go-grpc, both
// pinned as tools in go.mod. It parses the file itself, so that no protoc has
// to be installed.
package main
