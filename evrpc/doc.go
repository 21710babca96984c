// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Package evrpc is libevent's RPC for loops of package evchan: calls and answers are messages in
// the range. A Go program can call a C program that uses evrpc, be called by one, and Go programs each other.
//
// A message is a struct whose fields have tags, see package evtag. The command evrpcgen makes such
// structs of libevent's .rpc files.
//
//	type Order struct {
//		Item  string `evtag:"1"`
//		Count uint32 `evtag:"2"`
//	}
//	type Receipt struct {
//		Price uint64 `evtag:"1"`
//	}
//
// A server:
//
//	srv := evrpc.New(nil)
//	evrpc.Register[Order, Receipt](srv, "Buy")
//	srv.HTTP().Listen(loop, "tcp", "127.0.0.1:8080", nil)
//	for ev := range loop.All() {
//		switch ev := ev.(type) {
//		case *evrpc.Call[Order, Receipt]:
//			if ev.Request.Count == 0 {
//				ev.Fail(errors.New("nothing to buy"))
//				continue
//			}
//			ev.Reply(&Receipt{Price: price(ev.Request)}) // now; or later, from any goroutine
//		}
//	}
//
// A client:
//
//	pool := evrpc.NewPool(loop, nil)
//	pool.Add("tcp", "127.0.0.1:8080")
//	pool.Call("Buy", &Order{"tea", 2}, new(Receipt)) // returns at once
//	for ev := range loop.All() {
//		switch ev := ev.(type) {
//		case *evrpc.Reply:
//			if ev.Err != nil {
//				log.Println(ev.Name, ev.Err)
//				continue
//			}
//			fmt.Println(ev.Reply.(*Receipt).Price)
//		}
//	}
//
// # On the wire
//
// A call is an HTTP request, POST /.rpc.NAME, whose body is the encoded request. The answer is a response with
// status 200, whose body is the encoded answer. A connection has one call at a time.
//
//	404               there is no RPC of that name
//	413               the request is longer than evhttp.Config.MaxBody
//	503               the request is no POST, is empty or cannot be decoded; a hook has ended the
//	                  call; the program has called Fail, or its answer cannot be encoded
//
// An empty request is refused because libevent refuses it. So a request needs at least one field that is always sent.
//
// There is no encryption of its own: put evtls.Over into the ListenConfig of evhttp.Config.Listen, and into
// PoolConfig.Dial. There is no authentication either: that is what hooks are for.
//
// # Hooks
//
// A [Hook] sees the messages of a server or pool, in one direction. It can change them, add fields
// to the head of the HTTP message, keep values for later hooks and for the receiver, and end the call. If the
// decision takes time, it pauses the call, and resumes it from anywhere:
//
//	srv.AddHook(evrpc.Input, func(x *evrpc.Exchange) evrpc.Verdict {
//		go func() {
//			user, ok := authenticate(x.Context(), x.Header("Authorization"))
//			if !ok {
//				x.Resume(evrpc.Terminate)
//				return
//			}
//			x.SetValue(userKey{}, user)
//			x.Resume(evrpc.Continue)
//		}()
//		return evrpc.Pause
//	})
//
// # Limits
//
// What a peer can make a program hold is bounded by evhttp.Config.MaxBody, by PoolConfig.MaxReply, and by a constant
// for each byte of a message that is decoded, see package evtag. Calls that wait in a pool are the program's own; there is no limit for them.
//
// # Beside net/rpc and gRPC
//
//		                        evrpc                       net/rpc                   gRPC
//		peers                   C with libevent, Go         Go                        all common languages
//		messages                structs with tags,          any Go values (gob)       .proto files and a
//		                        or an .rpc file                                       compiler
//		unknown fields          an error                    ignored                   kept
//		an encoded message of   tag, length, value          types, names, values      tag, value
//		transport               HTTP/1.1, or with evtls     a connection, or HTTP     HTTP/2 with TLS
//		                                                    CONNECT
//		calls on a connection   one                         many                      many
//		streams of messages     no                          no                        yes
//		deadlines, cancelling   at the client               no                        passed on to the server
//		metadata                fields of HTTP, by hooks    no                        yes
//		interceptors            hooks, may pause            no                        yes, may block
//		load balancing          idle connections of a       no                        yes
//		                        pool
//		a call at the server    a message in the range;     a goroutine               a goroutine
//		                        no goroutine
//		ready for production    as libevent's: old and      frozen                    yes; what most
//		                        seldom used                                           programs should use
//
//	  - Use evrpc to talk to what speaks libevent's RPC, or for a few calls between programs that are loops
//	    anyway, where a call is handled in the order of all other messages and nothing needs a lock.
//	  - Use net/rpc between Go programs that need nothing more than a call.
//	  - Use gRPC for an interface that many programs in several languages share, that has to evolve, to stream,
//	    or to pass deadlines on.
//
// A message cannot get a new field without both ends knowing it: libevent refuses what it does not know, and so
// does this package. Give a new version a new name.
//
// # libevent
//
//	evrpc_init, evrpc_free                      NewServer
//	EVRPC_REGISTER, EVRPC_UNREGISTER            Register, Server.Unregister
//	EVRPC_REQUEST_DONE                          Call.Reply
//	EVRPC_REQUEST_HTTP                          Call.HTTP
//	evrpc_pool_new, evrpc_pool_free             NewPool, Pool.Close
//	evrpc_pool_add_connection, _remove_         Pool.Add, Conn.Remove
//	evrpc_pool_set_timeout                      PoolConfig.Timeout
//	evhttp_connection_set_retries               PoolConfig.Retries, RetryDelay
//	EVRPC_MAKE_REQUEST, EVRPC_MAKE_CTX          Pool.Call, Pool.Do
//	evrpc_add_hook, evrpc_remove_hook           AddHook, and what it returns
//	evrpc_resume_request                        Exchange.Resume
//	evrpc_hook_add_meta, evrpc_hook_find_meta   Exchange.SetValue, Exchange.Value
//	EVRPC_STATUS_ERR_TIMEOUT                    Reply.Err: every error of the connection
//	EVRPC_STATUS_ERR_BADPAYLOAD                 Reply.Err: *StatusError, *evtag.Error
//	EVRPC_STATUS_ERR_UNSTARTED                  Reply.Err: ErrNoConnection, an error of encoding
//	EVRPC_STATUS_ERR_HOOKABORTED                Reply.Err: ErrTerminated
//
// Where they differ:
//
//   - After a Resume the remaining hooks are called. libevent skips them.
//   - A pool looks at the status of the response. libevent takes the page of an error for an answer if it can decode it.
//   - A pool that is closed ends its calls with a message each. libevent forgets them.
//   - A pool closes connections that have been idle for a minute. libevent keeps them as long as the server does.
//   - libevent has no limit for the length of messages unless it is told one.
package evrpc

// prefix is what the path of each RPC begins with.
const prefix = "/.rpc."
