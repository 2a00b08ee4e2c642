//! The client against real servers.

mod peer;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use peer::*;
use remoting::client::{Client, ClientConfig};
use remoting::codes::request_code;
use remoting::connection::InvokeError;
use remoting::fields::NoHeader;
use remoting::request::{Handled, OutgoingRequest, Request, Response};
use remoting::routes;
use remoting::routes::ConnectionEvents;
use remoting::server::{Server, ServerConfig};

fn echo_request(body: &str) -> OutgoingRequest {
    OutgoingRequest::new(ECHO).header(&NoHeader).body(body.to_owned())
}

#[tokio::test]
async fn many_calls_share_one_connection() {
    let (state, server) = TestServer::start(ServerConfig::default()).await;
    let client = Client::new(ClientConfig::default());
    let addr = server.local_addr().to_string();
    let calls: Vec<_> = (0..100)
        .map(|n| {
            let (client, addr) = (client.clone(), addr.clone());
            tokio::spawn(async move { client.invoke(&addr, echo_request(&n.to_string()), SOON).await })
        })
        .collect();
    for (n, call) in calls.into_iter().enumerate() {
        let answer = call.await.unwrap().unwrap();
        assert_eq!((answer.code, &answer.body[..]), (0, n.to_string().as_bytes()));
    }
    assert_eq!(state.opened.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn one_way_requests_arrive() {
    let (state, server) = TestServer::start(ServerConfig::default()).await;
    let client = Client::new(ClientConfig::default());
    client
        .oneway(&server.local_addr().to_string(), echo_request(""))
        .await
        .unwrap();
    until("it is handled", || state.handled() == 1).await;
}

#[tokio::test]
async fn a_client_connects_again_after_the_server_came_back() {
    let (_state, server) = TestServer::start(ServerConfig::default()).await;
    let client = Client::new(ClientConfig::default());
    let addr = server.local_addr();
    client
        .invoke(&addr.to_string(), echo_request("a"), SOON)
        .await
        .unwrap();
    let connection = client.connection(&addr.to_string()).await.unwrap();
    server.stop().await;
    until("the client notices", || !connection.is_open()).await;
    let error = client
        .invoke(&addr.to_string(), echo_request("b"), SOON)
        .await
        .unwrap_err();
    assert!(matches!(error, InvokeError::Connect { .. }), "{error}");

    let state = Arc::new(TestServer::default());
    let _server = Server::bind(addr, ServerConfig::default(), state).await.unwrap();
    let answer = client
        .invoke(&addr.to_string(), echo_request("c"), SOON)
        .await
        .unwrap();
    assert_eq!(answer.body, "c");
}

#[tokio::test]
async fn a_call_without_answer_ends_in_time_and_closes_the_connection() {
    let (state, server) = TestServer::start(ServerConfig::default()).await;
    let client = Client::new(ClientConfig::default());
    let addr = server.local_addr().to_string();
    let request = OutgoingRequest::new(ANSWERED_LATER);
    let error = client
        .invoke(&addr, request, Duration::from_millis(30))
        .await
        .unwrap_err();
    assert!(matches!(error, InvokeError::Timeout(_)), "{error}");
    until("it is closed", || state.closed() == 1).await;
    assert_eq!(
        client.invoke(&addr, echo_request("x"), SOON).await.unwrap().body,
        "x"
    );
}

#[tokio::test]
async fn calls_that_wait_fail_when_the_connection_ends() {
    let (state, server) = TestServer::start(ServerConfig::default()).await;
    let client = Client::new(ClientConfig::default());
    let addr = server.local_addr().to_string();
    let waiting = tokio::spawn({
        let (client, addr) = (client.clone(), addr.clone());
        async move {
            client
                .invoke(&addr, OutgoingRequest::new(ANSWERED_LATER), SOON)
                .await
        }
    });
    until("it waits", || state.responders.lock().unwrap().len() == 1).await;
    state.connections.lock().unwrap()[0].close();
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(error, InvokeError::Closed), "{error}");
}

#[tokio::test]
async fn nobody_at_the_address_is_an_error_that_names_it() {
    let client = Client::new(ClientConfig::default());
    let error = client
        .invoke("127.0.0.1:1", echo_request(""), SOON)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "connect to 127.0.0.1:1 failed");
    assert!(client.invoke("no address", echo_request(""), SOON).await.is_err());
}

#[tokio::test]
async fn dropping_the_client_closes_its_connections() {
    let (state, server) = TestServer::start(ServerConfig::default()).await;
    let client = Client::new(ClientConfig::default());
    client
        .invoke(&server.local_addr().to_string(), echo_request(""), SOON)
        .await
        .unwrap();
    drop(client.clone());
    assert_eq!(state.closed(), 0, "a clone is no owner of its own");
    drop(client);
    until("it is closed", || state.closed() == 1).await;
}

#[derive(Debug)]
struct Consumer;

fn status(_: &Consumer, request: Request<'_, NoHeader>) -> Handled {
    let why = request.fields().get("why").unwrap_or_default().into_owned();
    Ok(Response::success().body(format!("because of {why}")).into())
}

routes! { Consumer;
    GET_CONSUMER_STATUS_FROM_CLIENT => NoHeader, status, inline;
}

impl ConnectionEvents for Consumer {}

#[tokio::test]
async fn a_client_with_routes_answers_requests_of_its_server() {
    let (_state, server) = TestServer::start(ServerConfig::default()).await;
    let client = Client::with_routes(ClientConfig::default(), Arc::new(Consumer));
    let addr = server.local_addr().to_string();
    let answer = client
        .invoke(&addr, OutgoingRequest::new(ASK_BACK), SOON)
        .await
        .unwrap();
    assert_eq!((answer.code, &answer.body[..]), (0, &b"because of test"[..]));

    let plain = Client::new(ClientConfig::default());
    let answer = plain
        .invoke(&addr, OutgoingRequest::new(ASK_BACK), SOON)
        .await
        .unwrap();
    assert_eq!(
        answer.code, 0,
        "the question was answered, if only with REQUEST_CODE_NOT_SUPPORTED"
    );
    assert!(answer.body.is_empty());
    assert_eq!(request_code::GET_CONSUMER_STATUS_FROM_CLIENT, 221);
}
