package org.mlpexport.demo

import android.content.ContentResolver
import android.database.Cursor
import android.net.Uri
import android.provider.DocumentsContract
import android.provider.DocumentsContract.Document
import android.provider.OpenableColumns
import java.io.FileNotFoundException
import java.io.InputStream

/** Reads what the system's picker gave. All of it blocks, as providers may be far away. */
class PickedFiles(private val resolver: ContentResolver) {

    /** The folder of a bundle, or a folder with one bundle in it. */
    fun folder(tree: Uri): ImportSource {
        val root = DocumentsContract.getTreeDocumentId(tree)
        val name = displayName(DocumentsContract.buildDocumentUriUsingTree(tree, root))
        val children = children(tree, root)
        if (children.any { it.name == BundleRepository.MANIFEST }) return source(name, tree, children)
        val inner = children.filter { it.isFolder }
            .map { it.name to children(tree, it.id) }
            .singleOrNull { (_, files) -> files.any { it.name == BundleRepository.MANIFEST } }
        return if (inner == null) source(name, tree, children) else source(inner.first, tree, inner.second)
    }

    /** Single files, all of one bundle. */
    fun files(uris: List<Uri>) = ImportSource(
        name = null,
        files = uris.map { uri ->
            resolver.query(uri, arrayOf(OpenableColumns.DISPLAY_NAME, OpenableColumns.SIZE), null, null, null).rows {
                ImportFile(getString(0).orEmpty(), longOrNull(1)) { open(uri) }
            }.firstOrNull() ?: ImportFile(uri.lastPathSegment.orEmpty().substringAfterLast('/'), null) { open(uri) }
        },
    )

    /** What a person calls this document; the end of its address where the provider does not say. */
    fun displayName(uri: Uri): String {
        val names = resolver.query(uri, arrayOf(OpenableColumns.DISPLAY_NAME), null, null, null).rows { getString(0) }
        return names.firstOrNull().orEmpty().ifEmpty { uri.lastPathSegment.orEmpty().substringAfterLast('/') }
    }

    fun open(uri: Uri): InputStream =
        resolver.openInputStream(uri) ?: throw FileNotFoundException(uri.lastPathSegment.orEmpty())

    private class Child(val id: String, val name: String, val bytes: Long?, val isFolder: Boolean)

    private fun children(tree: Uri, parent: String): List<Child> {
        val uri = DocumentsContract.buildChildDocumentsUriUsingTree(tree, parent)
        val columns = arrayOf(
            Document.COLUMN_DOCUMENT_ID,
            Document.COLUMN_DISPLAY_NAME,
            Document.COLUMN_SIZE,
            Document.COLUMN_MIME_TYPE,
        )
        return resolver.query(uri, columns, null, null, null).rows {
            Child(getString(0), getString(1).orEmpty(), longOrNull(2), getString(3) == Document.MIME_TYPE_DIR)
        }
    }

    private fun source(name: String, tree: Uri, children: List<Child>) = ImportSource(
        name,
        children.filterNot { it.isFolder }.map {
            ImportFile(it.name, it.bytes) { open(DocumentsContract.buildDocumentUriUsingTree(tree, it.id)) }
        },
    )

    private fun <T> Cursor?.rows(read: Cursor.() -> T): List<T> = this?.use {
        buildList { while (moveToNext()) add(read()) }
    } ?: emptyList()

    private fun Cursor.longOrNull(column: Int) = if (isNull(column)) null else getLong(column)
}
