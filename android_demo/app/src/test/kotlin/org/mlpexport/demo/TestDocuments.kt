package org.mlpexport.demo

import android.content.ContentProvider
import android.content.ContentValues
import android.content.pm.ProviderInfo
import android.database.Cursor
import android.database.MatrixCursor
import android.net.Uri
import android.provider.DocumentsContract
import android.provider.DocumentsContract.Document
import org.robolectric.Robolectric
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import java.io.File
import java.io.InputStream

/** What the system's picker gives, made of a folder: documents are known by their paths in it. */
class TestDocuments : ContentProvider() {
    lateinit var root: File

    /** As if the user had taken the permission back. */
    @Volatile var denies = false

    override fun onCreate() = true

    override fun query(
        uri: Uri,
        projection: Array<String>?,
        selection: String?,
        selectionArgs: Array<String>?,
        sortOrder: String?,
    ): Cursor {
        if (denies) throw SecurityException("Permission Denial")
        val file = file(uri)
        val files = if (uri.lastPathSegment == "children") file.listFiles().orEmpty().toList() else listOf(file)
        val columns = projection ?: arrayOf(Document.COLUMN_DISPLAY_NAME)
        return MatrixCursor(columns).apply { files.forEach { file -> addRow(columns.map { value(file, it) }) } }
    }

    override fun getType(uri: Uri) = "text/plain"

    override fun insert(uri: Uri, values: ContentValues?) = null

    override fun delete(uri: Uri, selection: String?, selectionArgs: Array<String>?) = 0

    override fun update(uri: Uri, values: ContentValues?, selection: String?, selectionArgs: Array<String>?) = 0

    private fun file(uri: Uri) = File(root, DocumentsContract.getDocumentId(uri))

    private fun value(file: File, column: String): Any? = when (column) {
        Document.COLUMN_DOCUMENT_ID -> file.relativeTo(root).path
        Document.COLUMN_DISPLAY_NAME -> file.name
        Document.COLUMN_SIZE -> if (file.isFile) file.length() else null
        Document.COLUMN_MIME_TYPE -> if (file.isFile) "text/plain" else Document.MIME_TYPE_DIR
        else -> null
    }

    companion object {
        private const val AUTHORITY = "org.mlpexport.test.documents"

        fun install(root: File): TestDocuments {
            val info = ProviderInfo().apply { authority = AUTHORITY }
            val provider = Robolectric.buildContentProvider(TestDocuments::class.java).create(info).get()
            return provider.also { it.root = root }
        }
    }

    /** What the picker gives for a folder. */
    fun tree(path: String): Uri {
        val tree = DocumentsContract.buildTreeDocumentUri(AUTHORITY, path)
        File(root, path).walk().filter { it.isFile }.forEach {
            register(DocumentsContract.buildDocumentUriUsingTree(tree, it.relativeTo(root).path), it)
        }
        return tree
    }

    /** What the picker gives for a file. */
    fun document(path: String): Uri =
        DocumentsContract.buildDocumentUri(AUTHORITY, path).also { register(it, File(root, path)) }

    /** Robolectric cannot close the descriptors that a provider would give. */
    private fun register(uri: Uri, file: File) {
        val resolver = shadowOf(RuntimeEnvironment.getApplication().contentResolver)
        resolver.registerInputStreamSupplier(uri) { open(file) }
    }

    private fun open(file: File): InputStream {
        if (denies) throw SecurityException("Permission Denial")
        return file.inputStream()
    }
}
