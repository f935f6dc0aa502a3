// Package coorddv1 is the contract between coordd and its clients: the messages of coordd.proto with their
// generated code, and the one table of error codes.
//
// The package promises that a field number, a JSON name and a code never change their meaning. It asks of
// its callers that they never hash or compare protobuf bytes, which are not canonical, and that they decide by
// the code of an error, never by its message.
//
// A body that starts with '{' is the JSON form of a message (protojson with the names of the .proto); anything
// else is protobuf. docs/protocol.md describes subjects, bodies and behaviour.
package coorddv1
