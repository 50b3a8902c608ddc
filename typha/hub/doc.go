// Package hub owns the calculation engine and knows which node needs which object.
//
// A Hub takes in changes of resources, has the engine compute what they mean, and hands the result to the nodes:
//
//	Update ─► input     the engine, and what it has received
//	            └► store     the objects, and who needs them
//	                 ├► Session     what a node has not read yet
//	                 └► Observer    what a follower has not read yet
//
// A Session has a mark for each object that changed since its reader last asked, never a queue. A slow reader therefore
// costs at most one mark for each object that its node needs, and delays nobody. A commit is made when the reader asks
// for it, and is then the whole difference to the present. A change marks the sessions of those nodes only that need
// the object. An Observer has marks in the same way, for nodes and for problems of resources.
//
// The Hub hands out references to immutable values: objects, a catalog of those that every node needs, IP sets in
// pieces. The goroutines of the sessions compare them with what a node holds, encode and send them. What several nodes
// need is encoded once (Object.Frame, SetStep.Frame).
//
// Felix reads a Session directly when there is no Typha: see Hub.Source. Otherwise package transport sends what a
// Session says to the node. A node that does not understand an object gets a form of it that denies what it cannot
// express; see wire.Downgrade.
//
// The package never reads a datastore or a network connection, and knows no peers but the names of nodes.
//
// All shared state is owned by the goroutine of Hub.Run. The other methods of a Hub are for any goroutine: they send a
// function to that goroutine, and some wait for it.
package hub
