// Package redirect sends HTTP requests that only the leader of a cluster can answer to the leader.
//
// # What it promises
//
//   - A request for one of the paths that arrives at a follower is answered with 307 Temporary Redirect to the leader's
//     advertised URL, with the path and the query as they were sent. 307 has the client repeat the method and the body.
//   - While no leader is known, or the leader has no usable URL, the answer is 503 Service Unavailable with Retry-After.
//   - Requests for other paths, and all requests on the leader itself, are passed on.
//   - It takes no lock, starts nothing, and waits for nobody.
//   - Nobody is sent in a circle. Each member names as the leader of a term only who was elected in it, and who was
//     elected in a term knows it: so whoever is met next either leads, knows of no leader, or names the leader of a
//     later term. What an operator configured is another matter: an advertised URL that is in truth this server's own
//     (a load balancer, or the same address given to two members) is where the request came in already, and is
//     answered with 503 and the reason.
//
// # What it asks of its caller
//
//   - A [Source] that answers quickly, from any goroutine; it is asked once for each request for one of the paths.
//   - The outermost place: what strips a prefix of the path in front of it takes that prefix from the URL too.
//   - A proxy in front keeps the Host header, or the check for circles finds nothing.
//   - Clients see the leader's own address. One that must not, or that can't reach it, needs [WithRedirect] or a proxy
//     that follows redirects.
package redirect
