// Package cli is the command line of coordd: one file a command.
//
// What it promises, to people and to scripts alike:
//
//   - Exit codes say what happened (exit.go): 0 done, 1 error, 2 usage, 3 lock not obtained, 4 lock lost
//     while running, 5 no leader or unreachable, 6 denied.
//   - Each flag has an environment name, COORDD_ and the flag's name in upper case with underscores, shown
//     in the help, and a key of the same name in the YAML file that --config names. A flag wins over the
//     environment, the environment over the file, the file over the default. An unknown key of the file is
//     an error that names it (settings.go).
//   - stdout carries the answer alone; everything said to a person goes to stderr. With -o json the answer
//     is one JSON document, and an error is the contract's error object on stderr with stdout empty.
//   - Nothing that a command started outlives it: the command under `lock run` with all that it started,
//     and the nodes of `dev`, end with their parent in whatever way that ends (lockrun*.go, dev*.go).
//
// The shapes are those of the design's interfaces and contract pages; the process handling of `lock run`
// follows what POSIX says of job control (XBD 11.1, "General Terminal Interface") and answers the requests
// collected from users of consul lock and etcdctl lock.
package cli
