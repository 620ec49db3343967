//! gRPC through the gateway: all four kinds of calls over HTTP/2 and TLS to an app that speaks h2c, with status,
//! metadata, trailers and deadlines, by an ordinary client and server of another make.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderValue, Method, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use masugata_tests::{TestGateway, Upstream, UpstreamAnswer, within_reason};
use tokio::sync::mpsc;
use tonic::client::{Grpc as GrpcClient, GrpcService};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataValue;
use tonic::server::{
    ClientStreamingService, Grpc as GrpcServer, ServerStreamingService, StreamingService,
    UnaryService,
};
use tonic::{Code, Request, Response, Status, Streaming};

/// Messages are their own bytes.
#[derive(Clone, Copy, Default)]
struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;
    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;
    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length)))
    }
}

type Reply<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;
type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// The app's methods.
#[derive(Clone, Copy)]
struct App;

impl UnaryService<Bytes> for App {
    type Response = Bytes;
    type Future = Reply<Bytes>;
    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        Box::pin(async move {
            let deadline = request.metadata().get("grpc-timeout").cloned();
            match &request.get_ref()[..] {
                b"fail" => {
                    let mut status = Status::with_details(
                        Code::FailedPrecondition,
                        "nicht möglich: 100%",
                        Bytes::from_static(b"\0\x01details"),
                    );
                    status
                        .metadata_mut()
                        .insert("x-reason", "because".parse().unwrap());
                    Err(status)
                }
                b"sleep" => {
                    // As servers do: the client's deadline is theirs.
                    let deadline = deadline.ok_or_else(|| Status::internal("no deadline came"))?;
                    let text = deadline.to_str().unwrap();
                    let (number, unit) = text.split_at(text.len() - 1);
                    let micros: u64 = number.parse().unwrap();
                    let scale = match unit {
                        "n" => micros / 1000,
                        "u" => micros,
                        "m" => micros * 1000,
                        _ => micros * 1_000_000,
                    };
                    tokio::time::sleep(Duration::from_micros(scale)).await;
                    Err(Status::deadline_exceeded("too late"))
                }
                _ => {
                    let mut response = Response::new(request.get_ref().clone());
                    for name in ["x-asked", "x-binary-bin"] {
                        if let Some(value) = request.metadata().as_ref().get(name) {
                            response.metadata_mut().as_mut().insert(name, value.clone());
                        }
                    }
                    Ok(response)
                }
            }
        })
    }
}

impl ServerStreamingService<Bytes> for App {
    type Response = Bytes;
    type ResponseStream = Messages;
    type Future = Reply<Messages>;
    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        Box::pin(async move {
            let asked = request.into_inner();
            let messages = stream::iter((0..5).map(move |number| {
                if number == 4 && &asked[..] == b"break" {
                    Err(Status::data_loss("in the middle"))
                } else {
                    Ok(Bytes::from(format!(
                        "{}-{number}",
                        String::from_utf8_lossy(&asked)
                    )))
                }
            }));
            Ok(Response::new(Box::pin(messages) as Messages))
        })
    }
}

impl ClientStreamingService<Bytes> for App {
    type Response = Bytes;
    type Future = Reply<Bytes>;
    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        Box::pin(async move {
            let mut messages = request.into_inner();
            let mut joined = Vec::new();
            while let Some(message) = messages.message().await? {
                joined.extend_from_slice(&message);
            }
            Ok(Response::new(joined.into()))
        })
    }
}

impl StreamingService<Bytes> for App {
    type Response = Bytes;
    type ResponseStream = Messages;
    type Future = Reply<Messages>;
    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        Box::pin(async move {
            let echoed = request.into_inner().map(|message| {
                message.map(|message| Bytes::from([b"echo ", &message[..]].concat()))
            });
            Ok(Response::new(Box::pin(echoed) as Messages))
        })
    }
}

async fn serve(request: http::Request<Incoming>) -> UpstreamAnswer {
    let path = request.uri().path().to_owned();
    let mut server = GrpcServer::new(Plain);
    let response = match path.as_str() {
        "/test.App/Unary" => server.unary(App, request).await,
        "/test.App/ServerStream" => server.server_streaming(App, request).await,
        "/test.App/ClientStream" => server.client_streaming(App, request).await,
        "/test.App/Bidi" => server.streaming(App, request).await,
        _ => Status::unimplemented("no such method").into_http(),
    };
    // What breaks off is for the client to see as a status; hyper's service here knows no errors.
    response.map(|body| {
        let (feed, fed) = masugata_tests::fed();
        tokio::spawn(async move {
            let mut body = body;
            while let Some(Ok(frame)) = body.frame().await {
                let sent = match frame.into_data() {
                    Ok(data) => feed.data(data).await,
                    Err(frame) => feed.trailers(frame.into_trailers().unwrap()).await,
                };
                if !sent {
                    return;
                }
            }
        });
        fed.boxed()
    })
}

/// One connection through the gateway.
#[derive(Clone)]
struct Channel {
    sender: SendRequest<tonic::body::Body>,
    credential: HeaderValue,
}

impl GrpcService<tonic::body::Body> for Channel {
    type ResponseBody = Incoming;
    type Error = hyper::Error;
    type Future =
        Pin<Box<dyn Future<Output = Result<http::Response<Incoming>, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.sender.poll_ready(context)
    }
    fn call(&mut self, mut request: http::Request<tonic::body::Body>) -> Self::Future {
        request
            .headers_mut()
            .insert("authorization", self.credential.clone());
        Box::pin(self.sender.send_request(request))
    }
}

struct World {
    upstream: Upstream,
    gateway: TestGateway,
}

async fn world() -> World {
    let upstream = Upstream::h2c(serve).await;
    let gateway = TestGateway::new()
        .app_with(
            "grpc",
            "internal",
            upstream.address,
            "upstream.protocol = \"http2\"",
        )
        .start()
        .await;
    World { upstream, gateway }
}

impl World {
    async fn client(&self, token: &str) -> GrpcClient<Channel> {
        let stream = self.gateway.ada().h2().stream("grpc").await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        let credential = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
        let origin = Uri::from_static("https://grpc.corp.test");
        let mut client = GrpcClient::with_origin(Channel { sender, credential }, origin);
        client.ready().await.unwrap();
        client
    }
    async fn ada(&self) -> GrpcClient<Channel> {
        self.client(&self.gateway.token("ada").sign()).await
    }
}

fn method(name: &'static str) -> http::uri::PathAndQuery {
    http::uri::PathAndQuery::try_from(format!("/test.App/{name}")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unary_call_carries_message_and_metadata() {
    let world = world().await;
    let mut client = world.ada().await;
    let mut request = Request::new(Bytes::from("hello"));
    request
        .metadata_mut()
        .insert("x-asked", "yes".parse().unwrap());
    request
        .metadata_mut()
        .insert_bin("x-binary-bin", MetadataValue::from_bytes(b"\0\xff"));
    let response = client.unary(request, method("Unary"), Plain).await.unwrap();
    assert_eq!(response.metadata().get("x-asked").unwrap(), "yes");
    let binary = response
        .metadata()
        .get_bin("x-binary-bin")
        .unwrap()
        .to_bytes()
        .unwrap();
    assert_eq!(&binary[..], b"\0\xff");
    assert_eq!(&response.into_inner()[..], b"hello");
    let seen = world.upstream.last();
    assert_eq!(seen.method, Method::POST);
    assert_eq!(seen.one("te").as_deref(), Some("trailers"));
    assert_eq!(
        seen.one("content-type").as_deref(),
        Some("application/grpc")
    );
    assert!(seen.one("masugata-assertion").is_some());
    assert!(seen.one("authorization").is_none());
    // A large one, in many frames.
    client.ready().await.unwrap();
    let large = Bytes::from(vec![7; 3 << 20]);
    let response = client
        .unary(Request::new(large.clone()), method("Unary"), Plain)
        .await
        .unwrap();
    assert!(response.into_inner() == large);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_arrives_with_message_details_and_metadata() {
    let world = world().await;
    let mut client = world.ada().await;
    let status = client
        .unary(Request::new(Bytes::from("fail")), method("Unary"), Plain)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(status.message(), "nicht möglich: 100%");
    assert_eq!(status.details(), b"\0\x01details");
    assert_eq!(status.metadata().get("x-reason").unwrap(), "because");
    client.ready().await.unwrap();
    let status = client
        .unary(Request::new(Bytes::new()), method("Nothing"), Plain)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_from_the_server_ends_with_its_status() {
    let world = world().await;
    let mut client = world.ada().await;
    let response = client
        .server_streaming(
            Request::new(Bytes::from("a")),
            method("ServerStream"),
            Plain,
        )
        .await
        .unwrap();
    let messages: Vec<_> = response.into_inner().map(Result::unwrap).collect().await;
    assert_eq!(messages, ["a-0", "a-1", "a-2", "a-3", "a-4"]);
    client.ready().await.unwrap();
    let response = client
        .server_streaming(
            Request::new(Bytes::from("break")),
            method("ServerStream"),
            Plain,
        )
        .await
        .unwrap();
    let mut messages = response.into_inner();
    for _ in 0..4 {
        assert!(messages.message().await.unwrap().is_some());
    }
    let status = messages.message().await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::DataLoss, "in the middle")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_from_the_client_is_one_call() {
    let world = world().await;
    let mut client = world.ada().await;
    let messages = stream::iter((0..100).map(|number| Bytes::from(format!("{number},"))));
    let response = client
        .client_streaming(Request::new(messages), method("ClientStream"), Plain)
        .await
        .unwrap();
    let expected: String = (0..100).map(|number| format!("{number},")).collect();
    assert_eq!(response.into_inner(), expected);
    assert_eq!(world.upstream.count(), 1);
}

/// Both ways at once: each answer arrives before the next question is asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_goes_back_and_forth() {
    let world = world().await;
    let mut client = world.ada().await;
    let (questions, receiver) = mpsc::channel::<Bytes>(1);
    let asked = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|message| (message, receiver))
    });
    questions.send(Bytes::from("0")).await.unwrap();
    let response = within_reason(
        "a head",
        client.streaming(Request::new(Box::pin(asked)), method("Bidi"), Plain),
    )
    .await
    .unwrap();
    let mut answers = response.into_inner();
    for number in 0..20 {
        if number > 0 {
            questions
                .send(Bytes::from(number.to_string()))
                .await
                .unwrap();
        }
        let answer = within_reason("an answer", answers.message())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(answer, format!("echo {number}"));
    }
    drop(questions);
    assert!(
        within_reason("the end", answers.message())
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_reaches_the_server() {
    let world = world().await;
    let mut client = world.ada().await;
    let mut request = Request::new(Bytes::from("sleep"));
    request.set_timeout(Duration::from_millis(300));
    let status = within_reason("a status", client.unary(request, method("Unary"), Plain))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::DeadlineExceeded, "too late")
    );
    assert!(world.upstream.last().one("grpc-timeout").is_some());
}

/// A refusal is no gRPC answer, and clients make the right status of it (gRPC over HTTP/2, HTTP to gRPC status mapping).
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_call_fails_with_the_status_of_its_refusal() {
    let world = world().await;
    let mut client = world.client("nonsense").await;
    let status = client
        .unary(Request::new(Bytes::from("hello")), method("Unary"), Plain)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    assert_eq!(world.upstream.count(), 0);
    world
        .gateway
        .set_policy("@id(\"nobody\") forbid (principal, action, resource);")
        .await;
    let mut client = world.ada().await;
    let status = client
        .unary(Request::new(Bytes::from("hello")), method("Unary"), Plain)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
}
