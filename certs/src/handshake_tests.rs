//! Whole handshakes, in memory: who gets in, who does not, and what resumption may and may not do.

use std::sync::Arc;

use rcgen::{
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyUsagePurpose, NameConstraints, SanType,
};
use rustls::server::danger::ClientCertVerifier as _;
use rustls::{CertificateError, ClientConfig, Error, HandshakeKind, ProtocolVersion, ServerConfig};

use crate::testing::{Clock, NOW, Pair, Pki, at, connect, days, names_extension, uri};
use crate::verify::DeviceVerifier;
use crate::{
    CertError, ClientAuth, ClientIdentity, ClientOptions, DeviceAuthorities, IdentityError, Peer,
    Profile, RevocationStatus, Revocations, Roots, ServerCertificates, ServerOptions, Validity,
    VerifiedPeer, client_config, group_name, peer_of, server_config,
};

const HOST: &str = "wiki.corp.example";

/// A gateway's side and what clients need to reach it.
struct World {
    clock: Arc<Clock>,
    server_ca: Pki,
    certificates: Arc<ServerCertificates>,
    profile: Profile,
    hybrid: bool,
}

impl World {
    fn new(profile: Profile) -> Self {
        let server_ca = Pki::new("Server CA");
        let (chain, key) = server_ca.server(&[HOST, "other.corp.example"]);
        let certificates =
            ServerCertificates::load(&[(chain.as_bytes(), key.as_bytes())], profile).unwrap();
        Self {
            clock: Clock::start(),
            server_ca,
            certificates: Arc::new(certificates),
            profile,
            hybrid: true,
        }
    }

    fn server(&self, client_auth: ClientAuth) -> Arc<ServerConfig> {
        let options = ServerOptions {
            profile: self.profile,
            hybrid: self.hybrid,
            certificates: Arc::clone(&self.certificates),
            client_auth,
            alpn: &[b"h2", b"http/1.1"],
            time: self.clock.clone(),
        };
        server_config(options).unwrap()
    }

    fn client(&self, identity: Option<&(String, String)>) -> Arc<ClientConfig> {
        self.client_with(
            identity,
            Profile::CryptrecRecommended,
            Roots::Pem(self.server_ca.pem().as_bytes()),
        )
        .unwrap()
    }

    fn client_with(
        &self,
        identity: Option<&(String, String)>,
        profile: Profile,
        roots: Roots<'_>,
    ) -> Result<Arc<ClientConfig>, CertError> {
        let identity = identity.map(|(chain, key)| ClientIdentity {
            chain_pem: chain.as_bytes(),
            key_pem: key.as_bytes(),
        });
        client_config(ClientOptions {
            profile,
            hybrid: self.hybrid,
            roots,
            identity,
            alpn: &[b"http/1.1"],
            time: self.clock.clone(),
        })
    }

    /// TLS 1.2 only, as an old client would.
    fn old_client(&self, identity: Option<&(String, String)>) -> Arc<ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(
                crate::pem::certificates(self.server_ca.pem().as_bytes())
                    .unwrap()
                    .remove(0),
            )
            .unwrap();
        let builder = ClientConfig::builder_with_details(
            Profile::CryptrecRecommended.provider(true),
            self.clock.clone(),
        )
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots);
        Arc::new(match identity {
            Some((chain, key)) => builder
                .with_client_auth_cert(
                    crate::pem::certificates(chain.as_bytes()).unwrap(),
                    crate::pem::private_key(key.as_bytes()).unwrap(),
                )
                .unwrap(),
            None => builder.with_no_client_auth(),
        })
    }

    fn peer(&self, pair: &Pair) -> Peer {
        peer_of(&pair.server, self.clock.now()).unwrap()
    }
}

fn authorities(pkis: &[&Pki]) -> Arc<DeviceAuthorities> {
    let pem: String = pkis.iter().map(|pki| pki.pem()).collect();
    Arc::new(DeviceAuthorities::load(&[pem.as_bytes()], Profile::CryptrecRecommended).unwrap())
}

fn verified(peer: Peer) -> VerifiedPeer {
    match peer {
        Peer::Verified(peer) => peer,
        Peer::Anonymous => panic!("no certificate"),
    }
}

/// What the verifier says of a chain, leaf first, at `NOW`.
fn verdict(pkis: &[&Pki], chain: &str) -> Result<(), Error> {
    let (world, verifier) = (Clock::start(), DeviceVerifier::new(authorities(pkis), true));
    let chain = crate::pem::certificates(chain.as_bytes()).unwrap();
    verifier
        .verify_client_cert(&chain[0], &chain[1..], world.now())
        .map(|_| ())
}

fn reason(pkis: &[&Pki], chain: &str) -> String {
    let problem = verdict(pkis, chain).unwrap_err();
    if let Error::InvalidCertificate(CertificateError::Other(other)) = &problem {
        other.0.to_string()
    } else {
        problem.to_string()
    }
}

#[test]
fn a_required_certificate_must_come_and_an_optional_one_may() {
    let (world, pki) = (
        World::new(Profile::CryptrecRecommended),
        Pki::new("Device CA"),
    );
    let device = pki.device("spiffe://corp.example/device/7");
    let required = world.server(ClientAuth::Required(authorities(&[&pki])));
    let optional = world.server(ClientAuth::Optional(authorities(&[&pki])));
    let off = world.server(ClientAuth::Off);
    let (with, without) = (world.client(Some(&device)), world.client(None));

    assert_eq!(
        connect(&required, &without, HOST).unwrap_err(),
        Error::NoCertificatesPresented
    );
    let peer = verified(world.peer(&connect(&required, &with, HOST).unwrap()));
    assert_eq!(peer.identity().as_str(), "spiffe://corp.example/device/7");
    assert_eq!(
        (peer.issuer(), peer.not_after_seconds()),
        ("CN=Device CA", NOW + days(90))
    );

    verified(world.peer(&connect(&optional, &with, HOST).unwrap()));
    assert!(matches!(
        world.peer(&connect(&optional, &without, HOST).unwrap()),
        Peer::Anonymous
    ));
    assert!(matches!(
        world.peer(&connect(&off, &with, HOST).unwrap()),
        Peer::Anonymous
    ));
}

#[test]
fn an_optional_certificate_of_a_foreign_authority_is_not_taken_for_none() {
    let (world, ours, theirs) = (
        World::new(Profile::CryptrecRecommended),
        Pki::new("Device CA"),
        Pki::new("Device CA"),
    );
    let foreign = theirs.device("spiffe://corp.example/device/7");
    for auth in [
        ClientAuth::Optional(authorities(&[&ours])),
        ClientAuth::Required(authorities(&[&ours])),
    ] {
        let problem =
            connect(&world.server(auth), &world.client(Some(&foreign)), HOST).unwrap_err();
        assert!(
            matches!(
                problem,
                Error::InvalidCertificate(
                    CertificateError::BadSignature | CertificateError::UnknownIssuer
                )
            ),
            "{problem:?}"
        );
    }
    let both = world.server(ClientAuth::Required(authorities(&[&ours, &theirs])));
    verified(world.peer(&connect(&both, &world.client(Some(&foreign)), HOST).unwrap()));
}

#[test]
fn certificates_outside_their_time_are_refused() {
    let (world, pki) = (
        World::new(Profile::CryptrecRecommended),
        Pki::new("Device CA"),
    );
    let server = world.server(ClientAuth::Required(authorities(&[&pki])));
    let early = pki.leaf(|params| params.not_before = at!(NOW + 60));
    let problem = connect(&server, &world.client(Some(&early)), HOST).unwrap_err();
    assert_eq!(
        problem,
        Error::InvalidCertificate(CertificateError::NotValidYet)
    );
    let short = pki.leaf(|params| params.not_after = at!(NOW + 60));
    let client = world.client(Some(&short));
    let pair = connect(&server, &client, HOST).unwrap();
    world.clock.advance(61);
    assert_eq!(
        peer_of(&pair.server, world.clock.now()).unwrap_err(),
        IdentityError::NotValidNow
    );
    // The ticket still resumes; the identity does not.
    let resumed = connect(&server, &client, HOST).unwrap();
    assert_eq!(
        resumed.server.handshake_kind(),
        Some(HandshakeKind::Resumed)
    );
    assert_eq!(
        peer_of(&resumed.server, world.clock.now()).unwrap_err(),
        IdentityError::NotValidNow
    );
    let problem = connect(&server, &world.client(Some(&short)), HOST).unwrap_err();
    assert_eq!(
        problem,
        Error::InvalidCertificate(CertificateError::Expired)
    );
}

#[test]
fn devices_of_an_expired_authority_are_refused() {
    let expired = Pki::valid(
        "Old CA",
        Validity {
            not_before_seconds: NOW - days(9),
            not_after_seconds: NOW - 1,
        },
    );
    let (leaf, _) = expired.device("spiffe://corp.example/device/7");
    assert_eq!(
        reason(&[&expired], &leaf),
        "the CA `CN=Old CA` is expired or not yet valid"
    );
}

#[test]
fn a_certificate_for_another_purpose_is_refused() {
    let pki = Pki::new("Device CA");
    let (server_only, _) = pki.server(&["a.example"]);
    assert!(reason(&[&pki], &server_only).contains("clientAuth"));
    let (none, _) = pki.leaf(|params| params.extended_key_usages.clear());
    assert!(reason(&[&pki], &none).contains("clientAuth"));
    let (any, _) =
        pki.leaf(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]);
    assert!(reason(&[&pki], &any).contains("clientAuth"));
    let (encipherment, _) =
        pki.leaf(|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]);
    assert!(reason(&[&pki], &encipherment).contains("digitalSignature"));
    let (signer, _) = pki.leaf(|params| params.key_usages.push(KeyUsagePurpose::CrlSign));
    assert!(reason(&[&pki], &signer).contains("cRLSign"));
}

#[test]
fn an_authority_is_no_device() {
    let root = Pki::root_without_limit("Root");
    let (intermediate, _) = root.constrained_intermediate("Intermediate", |params| {
        params.key_usages.push(KeyUsagePurpose::DigitalSignature);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    assert!(reason(&[&root], intermediate.pem()).contains("is a CA certificate"));
}

#[test]
fn weak_keys_and_signatures_are_refused() {
    let pki = Pki::new("Device CA");
    let short = crate::pem::certificates(include_bytes!("../testdata/rsa1024-leaf.pem"))
        .unwrap()
        .remove(0);
    let key = rcgen::SubjectPublicKeyInfo::from_der(
        crate::inspect::parse(&short, 1).unwrap().public_key().raw,
    )
    .unwrap();
    assert!(reason(&[&pki], &pki.leaf_for(&key, |_| {})).contains("too weak (RSA 1024 bit)"));
    let old_ca = DeviceAuthorities::load(
        &[include_bytes!("../testdata/sha1-ca.pem")],
        Profile::CryptrecRecommended,
    )
    .unwrap();
    let leaf = crate::pem::certificates(include_bytes!("../testdata/sha1-leaf.pem"))
        .unwrap()
        .remove(0);
    let problem = DeviceVerifier::new(Arc::new(old_ca), true)
        .verify_client_cert(&leaf, &[], Clock::start().now())
        .unwrap_err();
    assert!(format!("{problem:?}").contains("SHA-1"), "{problem:?}");
}

#[test]
fn chains_lead_through_intermediates_of_bounded_depth_and_number() {
    let root = Pki::root_without_limit("Root");
    let (intermediate, _) = root.intermediate("Intermediate");
    let (leaf, _) = intermediate.device("spiffe://corp.example/device/7");
    assert_eq!(
        verdict(&[&root], &format!("{leaf}{}", intermediate.pem())),
        Ok(())
    );
    assert_eq!(
        verdict(&[&root], &leaf),
        Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))
    );
    assert_eq!(
        verdict(&[&intermediate], &leaf),
        Ok(()),
        "an intermediate may be listed itself"
    );
    let many = format!("{leaf}{}", intermediate.pem().repeat(7));
    assert!(reason(&[&root], &many).contains("7 intermediate certificates; at most 6"));
    // `Pki::new` makes authorities of path length 0.
    let limited = Pki::new("Limited");
    let (below, _) = limited.intermediate("Below");
    let (leaf, _) = below.device("spiffe://corp.example/device/7");
    let (middle, _) = root.constrained_intermediate("Middle", |params| {
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Constrained(0))
    });
    let (lowest, _) = middle.intermediate("Lowest");
    let (leaf_of_lowest, _) = lowest.device("spiffe://corp.example/device/8");
    let chain = format!("{leaf_of_lowest}{}{}", lowest.pem(), middle.pem());
    assert!(
        verdict(&[&root], &chain).is_err(),
        "a path length below a root counts"
    );
    assert!(
        verdict(&[&root], &format!("{leaf}{}", below.pem())).is_err(),
        "another root"
    );
}

#[test]
fn name_constraints_bind_what_an_authority_may_name() {
    let root = Pki::root_without_limit("Root");
    let (branch, _) = root.constrained_intermediate("Branch", |params| {
        let permitted_subtrees = vec![GeneralSubtree::DnsName("branch.corp.example".to_owned())];
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees,
            excluded_subtrees: Vec::new(),
        });
    });
    let named = |host: &str| {
        let (leaf, _) = branch.leaf(|params| {
            params.subject_alt_names = vec![SanType::DnsName(host.try_into().unwrap())]
        });
        verdict(&[&root], &format!("{leaf}{}", branch.pem()))
    };
    assert_eq!(named("pc7.branch.corp.example"), Ok(()));
    assert!(named("pc7.head.corp.example").is_err());
}

#[test]
fn a_revoked_device_is_seen_as_revoked_although_its_session_resumes() {
    let (world, pki) = (
        World::new(Profile::CryptrecRecommended),
        Pki::new("Device CA"),
    );
    let bundle = authorities(&[&pki]);
    let server = world.server(ClientAuth::Required(Arc::clone(&bundle)));
    let device = pki.device("spiffe://corp.example/device/7");
    for client in [world.client(Some(&device)), world.old_client(Some(&device))] {
        let first = connect(&server, &client, HOST).unwrap();
        assert_eq!(first.server.handshake_kind(), Some(HandshakeKind::Full));
        let serial = verified(world.peer(&first)).serial().to_owned();
        let second = connect(&server, &client, HOST).unwrap();
        assert_eq!(second.server.handshake_kind(), Some(HandshakeKind::Resumed));
        let peer = verified(world.peer(&second));
        let list = pki.list(&[&serial], NOW + days(1));
        let revocations = Revocations::load(&[list.as_bytes()], &bundle).unwrap();
        assert_eq!(revocations.status(&peer, NOW), RevocationStatus::Revoked);
        assert_eq!(peer.thumbprint(), verified(world.peer(&first)).thumbprint());
    }
}

#[test]
fn a_ticket_of_one_configuration_is_worth_nothing_to_another() {
    let (world, pki) = (
        World::new(Profile::CryptrecRecommended),
        Pki::new("Device CA"),
    );
    let (off, required) = (
        world.server(ClientAuth::Off),
        world.server(ClientAuth::Required(authorities(&[&pki]))),
    );
    for client in [world.client(None), world.old_client(None)] {
        connect(&off, &client, HOST).unwrap();
        assert_eq!(
            connect(&required, &client, HOST).unwrap_err(),
            Error::NoCertificatesPresented,
            "no way in through a public host"
        );
    }
    let client = world.client(Some(&pki.device("spiffe://corp.example/device/7")));
    connect(&required, &client, HOST).unwrap();
    let other = Pki::new("Other CA");
    let reloaded = world.server(ClientAuth::Required(authorities(&[&other])));
    assert!(
        connect(&reloaded, &client, HOST).is_err(),
        "a CA that was taken away is forgotten at once"
    );
}

#[test]
fn a_ticket_is_bound_to_the_server_name_it_was_given_for() {
    let world = World::new(Profile::CryptrecRecommended);
    let server = world.server(ClientAuth::Off);
    let client = world.client(None);
    connect(&server, &client, HOST).unwrap();
    assert_eq!(
        connect(&server, &client, "other.corp.example")
            .unwrap()
            .server
            .handshake_kind(),
        Some(HandshakeKind::Full)
    );
    assert!(connect(&server, &client, "unknown.corp.example").is_err());
}

#[test]
fn sessions_end_after_six_hours() {
    let world = World::new(Profile::CryptrecRecommended);
    let (server, client) = (world.server(ClientAuth::Off), world.client(None));
    connect(&server, &client, HOST).unwrap();
    world.clock.advance(6 * 3600 + 1);
    assert_eq!(
        connect(&server, &client, HOST)
            .unwrap()
            .server
            .handshake_kind(),
        Some(HandshakeKind::Full)
    );
}

#[test]
fn profiles_negotiate_what_their_tables_say() {
    let group =
        |pair: &Pair| group_name(pair.server.negotiated_key_exchange_group().unwrap().name());
    let suite =
        |pair: &Pair| crate::suite_name(pair.server.negotiated_cipher_suite().unwrap().suite());

    let mut recommended = World::new(Profile::CryptrecRecommended);
    let pair = connect(
        &recommended.server(ClientAuth::Off),
        &recommended.client(None),
        HOST,
    )
    .unwrap();
    assert_eq!(
        (group(&pair), suite(&pair)),
        ("X25519MLKEM768", "TLS_AES_128_GCM_SHA256")
    );
    assert_eq!(pair.client.alpn_protocol(), Some(&b"http/1.1"[..]));
    let old = connect(
        &recommended.server(ClientAuth::Off),
        &recommended.old_client(None),
        HOST,
    )
    .unwrap();
    assert_eq!(
        old.server.protocol_version(),
        Some(ProtocolVersion::TLSv1_2)
    );
    assert_eq!(suite(&old), "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
    recommended.hybrid = false;
    let pair = connect(
        &recommended.server(ClientAuth::Off),
        &recommended.client(None),
        HOST,
    )
    .unwrap();
    assert_eq!(group(&pair), "x25519");

    let high = World::new(Profile::CryptrecHigh);
    let pair = connect(&high.server(ClientAuth::Off), &high.client(None), HOST).unwrap();
    assert_eq!(
        (group(&pair), suite(&pair)),
        ("x25519", "TLS_AES_256_GCM_SHA384")
    );
    assert!(connect(&high.server(ClientAuth::Off), &high.old_client(None), HOST).is_err());
}

#[test]
fn neither_early_data_nor_more_than_one_ticket_is_offered() {
    let config = World::new(Profile::CryptrecRecommended).server(ClientAuth::Off);
    assert_eq!(
        (
            config.max_early_data_size,
            config.send_tls13_tickets,
            config.require_ems
        ),
        (0, 1, true)
    );
    assert!(!config.session_storage.can_cache());
}

#[test]
fn our_own_client_believes_only_the_roots_it_was_given() {
    let world = World::new(Profile::CryptrecRecommended);
    let server = world.server(ClientAuth::Off);
    let stranger = Pki::new("Server CA");
    let client = world
        .client_with(
            None,
            Profile::CryptrecRecommended,
            Roots::Pem(stranger.pem().as_bytes()),
        )
        .unwrap();
    assert!(connect(&server, &client, HOST).is_err());
    let insecure = world
        .client_with(None, Profile::CryptrecRecommended, Roots::Insecure)
        .unwrap();
    assert!(connect(&server, &insecure, HOST).is_ok());
    let system = crate::pem::certificates(world.server_ca.pem().as_bytes()).unwrap();
    let client = world
        .client_with(None, Profile::CryptrecRecommended, Roots::System(system))
        .unwrap();
    assert!(connect(&server, &client, HOST).is_ok());
    world.clock.advance(91 * 86_400);
    assert!(
        connect(&server, &client, HOST).is_err(),
        "the server's certificate has expired"
    );
    let empty = world.client_with(
        None,
        Profile::CryptrecRecommended,
        Roots::System(Vec::new()),
    );
    assert_eq!(empty.unwrap_err(), CertError::NoCertificate);
}

#[test]
fn an_ambiguous_device_gets_a_connection_and_no_identity() {
    let (world, pki) = (
        World::new(Profile::CryptrecRecommended),
        Pki::new("Device CA"),
    );
    let names = [
        uri("spiffe://corp.example/device/7"),
        uri("spiffe://corp.example/device/8"),
    ];
    let device = pki.leaf(|params| params.custom_extensions.push(names_extension(&names)));
    let pair = connect(
        &world.server(ClientAuth::Required(authorities(&[&pki]))),
        &world.client(Some(&device)),
        HOST,
    )
    .unwrap();
    assert_eq!(
        peer_of(&pair.server, world.clock.now()).unwrap_err(),
        IdentityError::SeveralUris
    );
}

#[test]
fn clients_are_told_which_authorities_count() {
    let (one, two) = (Pki::new("CA 1"), Pki::new("CA 2"));
    let verifier = DeviceVerifier::new(authorities(&[&one, &two]), false);
    let hints: Vec<&[u8]> = verifier
        .root_hint_subjects()
        .iter()
        .map(AsRef::as_ref)
        .collect();
    assert!(hints[0].ends_with(b"CA 1") && hints[1].ends_with(b"CA 2"));
}

#[test]
fn nobody_is_identified_before_the_handshake_is_finished() {
    let (world, pki) = (
        World::new(Profile::CryptrecRecommended),
        Pki::new("Device CA"),
    );
    let server = world.server(ClientAuth::Optional(authorities(&[&pki])));
    let connection = rustls::ServerConnection::new(server).unwrap();
    let problem = peer_of(&connection, world.clock.now()).unwrap_err();
    assert_eq!(problem, IdentityError::HandshakeUnfinished);
}

/// `testdata/page-*` were made with the commands of `docs/device-certificates.md`.
#[test]
fn what_the_page_for_administrators_makes_is_accepted() {
    let pem = include_bytes!("../testdata/page-ca.pem");
    let bundle = DeviceAuthorities::load(&[pem], Profile::CryptrecHigh).unwrap();
    let list = include_bytes!("../testdata/page-ca.crl");
    let revocations = Revocations::load(&[list], &bundle).unwrap();
    let next_update = revocations.summaries()[0].next_update_seconds;
    let verifier = DeviceVerifier::new(Arc::new(bundle), true);
    let status = |pem: &[u8]| {
        let chain = crate::pem::certificates(pem).unwrap();
        let verdict = verifier.verify_client_cert(&chain[0], &[], Clock::start().now());
        verdict.unwrap();
        let peer = crate::identify::peer_from_chain(&chain, NOW).unwrap();
        let status = revocations.status(&peer, next_update);
        (peer.identity().to_string(), status)
    };
    let (name, good) = status(include_bytes!("../testdata/page-laptop-7.pem"));
    assert_eq!(name, "spiffe://corp.example/device/laptop-7");
    assert_eq!(good, RevocationStatus::Good);
    let (_, revoked) = status(include_bytes!("../testdata/page-laptop-8.pem"));
    assert_eq!(revoked, RevocationStatus::Revoked);
}
