//! [`Api`]: one kind through any [`Objects`], typed.
//!
//! Invariant: adds nothing to what [`Objects`] does but the conversion between types and JSON. A typed view drops fields
//! its type does not know, so read-change-write of a user's object is a patch's job, not `update`'s.

use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use k8s_openapi::Resource;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::DeleteOptions;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Answer, Call, Gvr, Objects, Options, PatchType, Status, Target, Verb, Watch};

/// One kind, in one namespace or all.
pub struct Api<K> {
    objects: Arc<dyn Objects>,
    gvr: Gvr,
    namespace: String,
    kind: PhantomData<fn() -> K>,
}

impl<K> std::fmt::Debug for Api<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api")
            .field("gvr", &self.gvr)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl<K> Clone for Api<K> {
    fn clone(&self) -> Self {
        Self {
            objects: self.objects.clone(),
            gvr: self.gvr.clone(),
            namespace: self.namespace.clone(),
            kind: PhantomData,
        }
    }
}

impl<K: Resource + Serialize + DeserializeOwned> Api<K> {
    /// A cluster-scoped kind, or a namespaced one in all namespaces (then only for reading).
    #[must_use]
    pub fn all(objects: Arc<dyn Objects>) -> Self {
        Self::namespaced(objects, "")
    }

    /// A kind in one namespace.
    #[must_use]
    pub fn namespaced(objects: Arc<dyn Objects>, namespace: &str) -> Self {
        Self { objects, gvr: Gvr::of::<K>(), namespace: namespace.to_owned(), kind: PhantomData }
    }

    /// One object.
    ///
    /// # Errors
    /// The API's.
    pub async fn get(&self, name: &str) -> Result<K, Status> {
        self.one(name, "", Verb::Get, Options::default()).await
    }

    /// One object, `None` if there is none.
    ///
    /// # Errors
    /// The API's, except `NotFound`.
    pub async fn get_opt(&self, name: &str) -> Result<Option<K>, Status> {
        match self.get(name).await {
            Ok(object) => Ok(Some(object)),
            Err(status) if status.is("NotFound") => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Many objects.
    ///
    /// # Errors
    /// The API's.
    pub async fn list(&self, options: Options) -> Result<Vec<K>, Status> {
        let list: Items<K> = self.raw("", "", Verb::List, options).await?.typed()?;
        Ok(list.items.unwrap_or_default())
    }

    /// Creates.
    ///
    /// # Errors
    /// The API's.
    pub async fn create(&self, object: &K) -> Result<K, Status> {
        self.one("", "", Verb::Create(json(object)?), Options::default()).await
    }

    /// Replaces; `object` carries its name.
    ///
    /// # Errors
    /// The API's.
    pub async fn update(&self, object: &K) -> Result<K, Status> {
        self.replace(object, "").await
    }

    /// Replaces the status.
    ///
    /// # Errors
    /// The API's.
    pub async fn update_status(&self, object: &K) -> Result<K, Status> {
        self.replace(object, "status").await
    }

    /// Changes.
    ///
    /// # Errors
    /// The API's.
    pub async fn patch(&self, name: &str, kind: PatchType, patch: &Value) -> Result<K, Status> {
        self.one(name, "", Verb::Patch(kind, text(patch)), Options::default()).await
    }

    /// Changes the status.
    ///
    /// # Errors
    /// The API's.
    pub async fn patch_status(&self, name: &str, kind: PatchType, patch: &Value) -> Result<K, Status> {
        self.one(name, "status", Verb::Patch(kind, text(patch)), Options::default()).await
    }

    /// Deletes. The answer is dropped: whether the object is gone or only marked is for a watch to say.
    ///
    /// # Errors
    /// The API's.
    pub async fn delete(&self, name: &str, options: Option<&DeleteOptions>) -> Result<(), Status> {
        let body = options.map(json).transpose()?;
        self.raw(name, "", Verb::Delete(body), Options::default()).await.map(drop)
    }

    /// Watches.
    ///
    /// # Errors
    /// The API's.
    pub async fn watch(&self, options: Options) -> Result<Box<dyn Watch>, Status> {
        self.objects.watch(self.target("", ""), options).await
    }

    async fn replace(&self, object: &K, sub: &str) -> Result<K, Status> {
        let value = json(object)?;
        let name = value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.one(&name, sub, Verb::Update(value), Options::default()).await
    }

    fn target(&self, name: &str, sub: &str) -> Target {
        Target {
            gvr: self.gvr.clone(),
            namespace: self.namespace.clone(),
            name: name.to_owned(),
            subresource: sub.to_owned(),
        }
    }

    async fn raw(&self, name: &str, sub: &str, verb: Verb, options: Options) -> Result<Answer, Status> {
        self.objects.call(Call { target: self.target(name, sub), verb, options }).await
    }

    async fn one(&self, name: &str, sub: &str, verb: Verb, options: Options) -> Result<K, Status> {
        self.raw(name, sub, verb, options).await?.typed()
    }
}

fn json(object: &impl Serialize) -> Result<Value, Status> {
    serde_json::to_value(object).map_err(Status::internal)
}

/// A list.
#[derive(Deserialize)]
struct Items<K> {
    items: Option<Vec<K>>,
}

fn text(patch: &Value) -> Bytes {
    Bytes::from(patch.to_string())
}
