//! What the API lacks, what it refuses, and what it has from earlier days.

use super::*;

#[tokio::test]
async fn without_the_definition_eniconfigs_are_not_found_and_with_it_again_there_are_none() {
    let api = Api::new();
    api.post(ENICONFIGS, eniconfig("a", json!({ "subnet": "s" }))).await;
    let mut watch = api.watch(&format!("{ENICONFIGS}?watch=true")).await;
    assert_eq!(watch.next().await.unwrap()["type"], "ADDED");

    api.store.set_crd(false);
    let last = (watch.next().await.map(|line| line["type"].clone()), watch.next().await);
    let (status, refused) = api.get(ENICONFIGS).await;
    let (_, groups) = api.get("/apis").await;
    api.store.set_crd(true);
    let (again, list) = api.get(ENICONFIGS).await;

    assert_eq!(last, (Some(json!("DELETED")), None), "the watch ends with the definition");
    assert_eq!(status, 404);
    assert_eq!(refused, "404 page not found\n");
    assert!(!groups.to_string().contains("crd.k8s.amazonaws.com"), "{groups}");
    assert_eq!((again, names(&list)), (200, vec![]));
}

#[tokio::test]
async fn openapi_tells_of_eniconfigs_what_their_definition_does_while_there_is_one() {
    let at = "/openapi/v3/apis/crd.k8s.amazonaws.com/v1alpha1";
    let api = Api::new();

    let (_, index) = api.get("/openapi/v3").await;
    let (_, document) = api.get(at).await;
    let (_, core) = api.get("/openapi/v3/api/v1").await;
    api.store.set_crd(false);
    let (_, without) = api.get("/openapi/v3").await;
    let (status, _) = api.get(at).await;

    let path = &at["/openapi/v3/".len()..];
    assert_eq!(index["paths"][path]["serverRelativeURL"], at);
    let schema = &document["components"]["schemas"]["crd.k8s.amazonaws.com/v1alpha1.ENIConfig"];
    assert_eq!(schema["properties"]["spec"]["required"], json!(["subnet"]));
    let patch = &document["paths"][format!("/{path}/eniconfigs/{{name}}")]["patch"];
    assert!(patch["parameters"].to_string().contains("fieldValidation"), "{patch}");
    let conditions = &core["components"]["schemas"]["v1.NodeStatus"]["properties"]["conditions"];
    assert_eq!(conditions["items"]["$ref"], "#/components/schemas/v1.NodeCondition");
    assert_eq!((without["paths"].get(path), status), (None, 404));
}

#[tokio::test]
async fn a_watch_of_nothing_ends_with_the_definition() {
    let api = Api::new();
    let mut watch = api.watch(&format!("{ENICONFIGS}?watch=true")).await;

    api.store.set_crd(false);

    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn nodes_are_refused_in_rbacs_words_and_others_are_not() {
    let outside = Api::new();
    let node = Api { store: Arc::clone(&outside.store), caller: Caller::Node };
    outside.store.refuse("eniconfigs", &[Verb::List]).unwrap();

    let (status, refused) = node.get(ENICONFIGS).await;
    let (others, _) = outside.get(ENICONFIGS).await;
    let (nodes, _) = node.get(NODES).await;
    outside.store.allow(Some("eniconfigs")).unwrap();
    let (allowed, _) = node.get(ENICONFIGS).await;

    assert_eq!((status, others, nodes, allowed), (403, 200, 200, 200));
    assert_eq!(refused["reason"], "Forbidden");
    assert_eq!(
        refused["message"],
        "eniconfigs.crd.k8s.amazonaws.com is forbidden: User \
         \"system:serviceaccount:kube-system:aws-node\" cannot list resource \"eniconfigs\" in API \
         group \"crd.k8s.amazonaws.com\" at the cluster scope"
    );
    let counts = outside.store.asked();
    let count = |verb: Verb, status: u16| {
        let is_one = |it: &&Asked| {
            it.verb == verb && it.status == status && it.resource.starts_with("eniconfigs")
        };
        counts.iter().find(is_one).map(|it| it.total)
    };
    assert_eq!((count(Verb::List, 403), count(Verb::List, 200)), (Some(1), Some(1)), "{counts:?}");
}

#[tokio::test]
async fn a_verb_is_refused_by_itself_and_an_unknown_resource_is_named() {
    let outside = Api::new();
    let node = Api { store: Arc::clone(&outside.store), caller: Caller::Node };
    outside.store.refuse("po", &[Verb::Watch]).unwrap();

    let (list, _) = node.get(PODS).await;
    let (watch, refused) = node.get(&format!("{PODS}?watch=true")).await;

    assert_eq!((list, watch), (200, 403));
    assert!(refused["message"].as_str().unwrap().ends_with("in the namespace \"default\""));
    let error = outside.store.refuse("podz", &[Verb::Watch]).unwrap_err().to_string();
    assert!(error.starts_with("no resource podz: there are namespaces, nodes"), "{error}");
}

#[tokio::test]
async fn an_object_from_earlier_days_is_listed_as_it_is_and_cannot_be_written_again() {
    let api = Api::new();
    let old = eniconfig("old", json!({ "subnet": "s", "securityGroups": "sg-1" }));
    api.store.put_as_is(old).unwrap();

    let (_, list) = api.get(ENICONFIGS).await;
    let label = json!({ "metadata": { "labels": { "a": "b" } } });
    let (patched, _) = api.patch(&format!("{ENICONFIGS}/old"), MERGE, label).await;

    assert_eq!(list["items"][0]["spec"]["securityGroups"], "sg-1");
    assert_eq!(patched, 422);
    for odd in [json!({}), json!({ "kind": "ENIConfig" }), json!({ "kind": "Car" })] {
        assert!(api.store.put_as_is(odd.clone()).is_err(), "{odd}");
    }
}

/// An API server with `conf/eniconfig-crd.yaml`: `spec` is no required field of an object.
#[tokio::test]
async fn an_eniconfig_without_a_spec_is_taken_and_one_with_an_odd_one_is_not() {
    let api = Api::new();

    let mut without = eniconfig("a", json!(null));
    without.as_object_mut().unwrap().remove("spec");
    let (without, _) = api.post(ENICONFIGS, without).await;
    let (odd, _) = api.post(ENICONFIGS, eniconfig("b", json!("s"))).await;
    let subnets = json!({ "subnet": "s", "subnets": "t" });
    let (list, _) = api.post(ENICONFIGS, eniconfig("c", subnets)).await;

    assert_eq!((without, odd, list), (201, 422, 422));
}
